//! Records at the end of their chains, in the transaction of the change.

use serde_json::{Value, json};
use store::{StoreError, Write};

use crate::Audit;
use crate::chain::{Hash, Stored, is_sealed, seal};
use crate::record::{BEGIN, BROKEN, REGISTER, Record};
use crate::sql::{End, Ends, Records};

impl Audit {
    /// Writes a record in the transaction of the change that it tells of. The workspace's chain is
    /// locked until the transaction ends, so do this last.
    ///
    /// A transaction that changes several workspaces' things uses [`Audit::record_all`] once: two of
    /// them that took the same chains in another order would wait for each other.
    ///
    /// # Errors
    /// When the database does not do it: the change must not be committed then.
    pub async fn record(&self, write: &mut Write, record: Record) -> Result<(), StoreError> {
        self.record_all(write, vec![record]).await
    }

    /// Writes records of any number of workspaces, in the order that lets no two transactions wait for
    /// each other. Those of one workspace stay in the order in which they are given.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub async fn record_all(
        &self,
        write: &mut Write,
        mut records: Vec<Record>,
    ) -> Result<(), StoreError> {
        records.sort_by(|a, b| a.workspace.cmp(&b.workspace));
        // The register goes before all others, and is needed only for a workspace's first record.
        let mut register = None;
        for chain in records.chunk_by(|a, b| a.workspace == b.workspace) {
            if register.is_none() && !Ends::exists(write, &chain[0].workspace).await? {
                register = Some(self.lock(write, REGISTER).await?);
            }
        }
        for chain in records.chunk_by(|a, b| a.workspace == b.workspace) {
            let mut open = self.lock(write, &chain[0].workspace).await?;
            for record in chain {
                self.append(write, &mut open, record).await?;
            }
            self.close(write, &open).await?;
            if let Some(register) = &mut register
                && open.begins
            {
                let begin = Record::by_itself(REGISTER, BEGIN, &open.workspace);
                self.append(write, register, &begin).await?;
            }
        }
        match register {
            Some(register) => self.close(write, &register).await,
            None => Ok(()),
        }
    }

    /// The end of a chain that nobody else can continue until the transaction ends.
    ///
    /// Where it is not as it was written, the next record would hide that by its fresh seal. Changes go
    /// on all the same, since people may need them badly, and a record in the chain says for ever that
    /// it was broken here.
    async fn lock(&self, write: &mut Write, workspace: &str) -> Result<Open, StoreError> {
        let Audit { inner } = self;
        let none = Hash::NONE;
        let sealed = seal(&inner.key, inner.service, workspace, 0, &none.0);
        let begins = Ends::ensure(write, workspace, &none.0, &sealed).await?;
        let end = Ends::lock(write, workspace, inner.store.for_update()).await?;
        // A statement of its own: on PostgreSQL it sees what was committed while the lock was waited for.
        let last = Records::last(write, workspace).await?;

        let known = end.as_ref().is_some_and(|end| {
            let End { sequence, hash, seal } = end;
            is_sealed(&inner.key, inner.service, workspace, (*sequence, hash, seal))
        });
        let found = end.as_ref().map_or(0, |end| end.sequence);
        let hash = end.as_ref().and_then(|end| end.hash.as_slice().try_into().ok());
        let mut open = Open {
            workspace: workspace.to_owned(),
            sequence: found.max(last).max(0),
            hash: hash.map_or(none, Hash),
            begins,
        };
        if !known || found != last {
            let before = json!({ "head": found, "sealed": known, "last": last });
            tracing::error!(workspace, %before, "the audit chain is not as it was written");
            self.append(write, &mut open, &broken(workspace, before)).await?;
        }
        Ok(open)
    }

    async fn append(
        &self,
        write: &mut Write,
        open: &mut Open,
        record: &Record,
    ) -> Result<(), StoreError> {
        let record = record.clone();
        let stored = Stored {
            workspace: open.workspace.clone(),
            sequence: open.sequence.saturating_add(1),
            at: self.now_ms(),
            who: record.who,
            who_id: record.who_id,
            role: record.role,
            from: record.from,
            request_id: record.request_id,
            action: record.action,
            about: record.about,
            before: record.before,
            after: record.after,
        };
        let hash = stored.hash(self.inner.service, &open.hash);
        Records::insert(write, &stored, &hash.0).await?;
        open.sequence = stored.sequence;
        open.hash = hash;
        Ok(())
    }

    async fn close(&self, write: &mut Write, open: &Open) -> Result<(), StoreError> {
        let Audit { inner } = self;
        let Open { workspace, sequence, hash, .. } = open;
        let sealed = seal(&inner.key, inner.service, workspace, *sequence, &hash.0);
        let end = End { sequence: *sequence, hash: hash.0.to_vec(), seal: sealed };
        Ends::update(write, workspace, &end).await
    }
}

/// A chain that is being continued.
struct Open {
    workspace: String,
    sequence: i64,
    hash: Hash,
    begins: bool,
}

fn broken(workspace: &str, found: Value) -> Record {
    Record::by_itself(workspace, BROKEN, workspace).before(found)
}
