//! The buckets that an edge follows, and how far it has come in each.

use crate::store::Table;
use crate::store::record::Record;

/// A bucket of this edge's region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    /// Policies, written by control.
    Policies,
    /// Certificates, written by issuer.
    Certificates,
    /// Thumbprints of ACME accounts, written by issuer.
    Challenges,
}

impl Bucket {
    /// All three.
    pub(crate) const ALL: [Bucket; 3] =
        [Bucket::Policies, Bucket::Certificates, Bucket::Challenges];

    /// Its name on the bus.
    pub(crate) fn name(self, region: &str) -> String {
        format!("{}-{region}", self.table().name())
    }

    /// Where its documents are kept.
    pub(crate) fn table(self) -> Table {
        match self {
            Bucket::Policies => Table::Policies,
            Bucket::Certificates => Table::Certificates,
            Bucket::Challenges => Table::Challenges,
        }
    }

    /// The key among the tombstones of what was under `key`.
    pub(crate) fn tombstone_key(self, key: &str) -> String {
        format!("{}/{key}", self.table().name())
    }

    /// Its place in arrays with an entry for each.
    pub(crate) fn index(self) -> usize {
        match self {
            Bucket::Policies => 0,
            Bucket::Certificates => 1,
            Bucket::Challenges => 2,
        }
    }

    /// Where its progress is kept in the store's meta table.
    pub(crate) fn progress_key(self) -> String {
        format!("followed/{}", self.table().name())
    }
}

/// How far a bucket was followed. Written in the same commit as the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// The bucket's life that `sequence` belongs to.
    pub(crate) generation: String,
    /// Where to go on watching.
    pub(crate) sequence: u64,
    /// Everything up to it is here, or named among what was refused.
    pub(crate) position: u64,
}

impl Progress {
    /// As a value of the meta table.
    pub(crate) fn to_record(&self) -> Record {
        let Progress { generation, sequence, position } = self;
        let document = format!("{sequence} {position} {generation}").into_bytes();
        Record { document, ..Record::default() }
    }

    /// From a value of the meta table; none if it is not one.
    pub(crate) fn from_record(record: &Record) -> Option<Progress> {
        let text = std::str::from_utf8(&record.document).ok()?;
        let mut parts = text.splitn(3, ' ');
        let sequence = parts.next()?.parse().ok()?;
        let position = parts.next()?.parse().ok()?;
        let generation = parts.next()?.to_owned();
        Some(Progress { generation, sequence, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_store() {
        let progress = Progress { generation: "a b-1".into(), sequence: 7, position: 4711 };
        assert_eq!(Progress::from_record(&progress.to_record()), Some(progress));
        assert_eq!(Progress::from_record(&Record::default()), None);
    }
}
