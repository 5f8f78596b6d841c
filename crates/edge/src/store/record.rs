//! One value that says itself whether it is whole.
//!
//! A flipped bit, or a value that has got under another key, must be seen before it is served.
//! The head is checked apart from the document, so that of a record with a damaged document one
//! still knows the revision, and does not step back behind it.

use aws_lc_rs::digest::{SHA256, digest};

use super::Table;

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8 + DIGEST_BYTES;
const HEAD_CHECK_BYTES: usize = 8;
const START_OF_DOCUMENT: usize = HEAD_BYTES + HEAD_CHECK_BYTES + DIGEST_BYTES;

/// Bytes of the digests that are kept: enough that no two documents share one by accident.
pub(crate) const DIGEST_BYTES: usize = 16;

/// A document as it is kept, or the memory of one that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// The envelope's revision.
    pub(crate) revision: u64,
    /// The envelope's position.
    pub(crate) position: u64,
    /// Tells whether the same envelope has come again.
    pub(crate) envelope: [u8; DIGEST_BYTES],
    /// What is served from.
    pub(crate) document: Vec<u8>,
}

/// A record that is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// Its revision, where the head is whole.
    pub(crate) revision: Option<u64>,
}

impl Record {
    /// The record as bytes, good only under this key of this table.
    pub(crate) fn seal(&self, table: Table, key: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(START_OF_DOCUMENT + self.document.len());
        bytes.push(FORMAT);
        bytes.extend(self.revision.to_be_bytes());
        bytes.extend(self.position.to_be_bytes());
        bytes.extend(self.envelope);
        let head_check = check(table, key, &bytes);
        bytes.extend(&head_check[..HEAD_CHECK_BYTES]);
        bytes.extend(check(table, key, &self.document));
        bytes.extend(&self.document);
        bytes
    }

    /// Reads a record that was found under this key of this table.
    pub(crate) fn open(table: Table, key: &str, bytes: &[u8]) -> Result<Record, Damaged> {
        let unknown = Damaged { revision: None };
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(unknown)?;
        let (head_check, rest) = rest.split_first_chunk::<HEAD_CHECK_BYTES>().ok_or(unknown)?;
        if head[0] != FORMAT || head_check[..] != check(table, key, head)[..HEAD_CHECK_BYTES] {
            return Err(unknown);
        }
        let revision = number(&head[1..9]);
        let position = number(&head[9..17]);
        let mut envelope = [0; DIGEST_BYTES];
        envelope.copy_from_slice(&head[17..]);

        let damaged = Damaged { revision: Some(revision) };
        let (document_check, document) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or(damaged)?;
        if *document_check != check(table, key, document) {
            return Err(damaged);
        }
        let document = document.to_vec();
        Ok(Record { revision, position, envelope, document })
    }
}

/// A short digest of some bytes.
pub(crate) fn short_digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..DIGEST_BYTES]);
    short
}

fn check(table: Table, key: &str, bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let place = [table.name().as_bytes(), b"\0", key.as_bytes(), b"\0"];
    short_digest(&[place.concat().as_slice(), bytes].concat())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { revision: 7, position: 4711, envelope: [3; 16], document: b"a policy".to_vec() }
    }

    #[test]
    fn a_record_opens_only_where_it_was_put() {
        let bytes = record().seal(Table::Policies, "example.com");
        assert_eq!(Record::open(Table::Policies, "example.com", &bytes), Ok(record()));
        assert!(Record::open(Table::Policies, "example.net", &bytes).is_err());
        assert!(Record::open(Table::Certificates, "example.com", &bytes).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = record().seal(Table::Policies, "example.com");
        for at in 0..bytes.len() * 8 {
            let mut spoiled = bytes.clone();
            spoiled[at / 8] ^= 1 << (at % 8);
            let damaged = Record::open(Table::Policies, "example.com", &spoiled).unwrap_err();
            let in_head = at / 8 < HEAD_BYTES + HEAD_CHECK_BYTES;
            assert_eq!(damaged.revision, (!in_head).then_some(7), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(Record::open(Table::Policies, "example.com", &bytes[..length]).is_err());
        }
    }
}
