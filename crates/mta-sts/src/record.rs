//! The TXT record that says there is a policy.

use crate::name;
use crate::{InvalidPolicyId, PolicyId};

/// How the one known version begins a record, in exactly these letters.
const VERSION: &[u8] = b"v=STSv1";

/// What the grammar calls `WSP`.
const SPACE: [char; 2] = [' ', '\t'];

/// The TXT value at [`record_name`](crate::record_name) of a domain, `v=STSv1; id=20160831085700Z;`
/// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
///
/// A record may carry further fields. Senders ignore them, and they are not kept here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Which instance of the policy is current.
    pub id: PolicyId,
}

impl Record {
    /// The record as published: `v=STSv1; id=<id>;`, at most 46 bytes, so one character-string.
    pub fn render(&self) -> String {
        format!("v=STSv1; id={};", self.id)
    }

    /// Reads one TXT value, its character-strings joined without a space between them.
    ///
    /// Stricter than a sender in one way. Of two ids a sender takes the first
    /// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)); here they are
    /// [`RecordError::DuplicateId`], because only their owner can say which was meant.
    pub fn parse(txt: &str) -> Result<Record, RecordError> {
        parse(txt.as_bytes())
    }

    /// Whether a TXT value begins with `v=STSv1;`, so that a sender counts it as an MTA-STS record
    /// at all, be the rest right or wrong.
    ///
    /// [RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1) contradicts
    /// itself about `v=STSv1 ;`: its grammar allows space before each semicolon, while its prose
    /// has senders discard what does not begin with `v=STSv1;`. We hold to the prose, as
    /// [erratum 6285](https://www.rfc-editor.org/errata/eid6285) (reported, not verified) proposes:
    /// a record that only some senders see is no record.
    pub fn is_candidate(txt: &[u8]) -> bool {
        txt.strip_prefix(VERSION).is_some_and(|rest| rest.starts_with(b";"))
    }

    /// The record among all TXT values at [`record_name`](crate::record_name), each with its
    /// character-strings joined, by the rule that senders follow: of the values that begin with
    /// `v=STSv1;` there must be exactly one, and it must be right
    /// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
    ///
    /// # Errors
    ///
    /// To a sender they are all the same: it sees no record, and goes on with the policy it has, if
    /// it has one. Where no value counts but one nearly does, such as `v=STSv1 ;` or `v=stsv1;`,
    /// the error is [`FindError::Invalid`] and says so.
    pub fn find<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Record, FindError> {
        let mut candidates = Vec::new();
        let mut near_miss = None;
        for value in values {
            match check_version(value) {
                Ok(()) => candidates.push(value),
                Err(RecordError::MissingVersion) => {}
                Err(error) => near_miss = Some(error),
            }
        }
        match candidates[..] {
            [] => Err(near_miss.map_or(FindError::None, FindError::Invalid)),
            [value] => Ok(parse(value)?),
            _ => Err(FindError::Multiple { count: candidates.len() }),
        }
    }
}

fn parse(txt: &[u8]) -> Result<Record, RecordError> {
    check_version(txt)?;
    let txt = check_ascii(txt)?;
    let mut at = VERSION.len() + 1;
    let fields = txt.get(at..).unwrap_or_default();

    let mut id = None;
    for piece in fields.split_inclusive(';') {
        let field = piece.trim_start_matches(SPACE);
        let start = at + piece.len() - field.len();
        at += piece.len();
        // Space may stand beside a semicolon and nowhere else.
        let field = match field.strip_suffix(';') {
            Some(field) => field.trim_end_matches(SPACE),
            None if field.is_empty() => break,
            None => field,
        };
        let found = read_field(field, start)?;
        if found.is_some() && id.is_some() {
            return Err(RecordError::DuplicateId { at: start });
        }
        id = id.or(found);
    }
    id.map(|id| Record { id }).ok_or(RecordError::MissingId)
}

/// Checks for `v=STSv1;`, and tells what nearly is from what never was meant as a record.
fn check_version(txt: &[u8]) -> Result<(), RecordError> {
    if Record::is_candidate(txt) {
        return Ok(());
    }
    match txt.split_at_checked(VERSION.len()) {
        Some((version, rest))
            if version.eq_ignore_ascii_case(VERSION)
                && rest.trim_ascii_start().starts_with(b";") =>
        {
            if version == VERSION {
                Err(RecordError::SpaceBeforeSemicolon)
            } else {
                Err(RecordError::WrongCase)
            }
        }
        _ => Err(RecordError::MissingVersion),
    }
}

fn check_ascii(txt: &[u8]) -> Result<&str, RecordError> {
    match str::from_utf8(txt) {
        Ok(text) if text.is_ascii() => Ok(text),
        _ => Err(RecordError::NotAscii { at: txt.iter().take_while(|b| b.is_ascii()).count() }),
    }
}

/// Reads the `name=value` at byte `at` of the record; the id, if it is that field.
fn read_field(field: &str, at: usize) -> Result<Option<PolicyId>, RecordError> {
    let (name, value) = field.split_once('=').ok_or(RecordError::BadField { at })?;
    if name == "id" {
        let id = value.parse().map_err(|wrong| RecordError::BadId { at, wrong })?;
        return Ok(Some(id));
    }
    // Whatever its meaning, an unknown field has a form (`sts-extension`).
    let is_value =
        |value: &str| !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'=');
    if name::is_field_name(name) && is_value(value) {
        Ok(None)
    } else {
        Err(RecordError::BadField { at })
    }
}

/// What is wrong with a TXT value. Each `at` is a byte of the value, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It does not begin with `v=STSv1;` or anything like it: some other record, most likely.
    #[error("the record does not begin with v=STSv1; : begin it so, semicolon included")]
    MissingVersion,
    /// It begins with `v=STSv1` in other letters.
    #[error("the version at byte 0 is in the wrong case: write v=STSv1")]
    WrongCase,
    /// It begins with `v=STSv1 ;`, which some senders discard: see [`Record::is_candidate`].
    #[error("space stands between v=STSv1 and the semicolon, at byte 7: remove it")]
    SpaceBeforeSemicolon,
    /// A byte outside ASCII, often a no-break space pasted from a web page.
    #[error("the record is not ASCII at byte {at}: type the text there anew")]
    NotAscii {
        /// Where the first such byte stands.
        at: usize,
    },
    /// The id has another form than an id.
    #[error("the field at byte {at}: {wrong}")]
    BadId {
        /// Where `id=` begins.
        at: usize,
        /// What is wrong with its value.
        wrong: InvalidPolicyId,
    },
    /// No `id=`.
    #[error("the record has no id: add id= in lower case, letters or digits, and a semicolon")]
    MissingId,
    /// A second `id=`.
    #[error("a second id begins at byte {at}: remove one of the two")]
    DuplicateId {
        /// Where the second one begins.
        at: usize,
    },
    /// Something between two semicolons that is not `name=value`.
    #[error(
        "the field at byte {at} is not of the form name=value without spaces: correct or remove it"
    )]
    BadField {
        /// Where the field begins.
        at: usize,
    },
}

/// Why senders see no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No value begins with `v=STSv1;` or anything like it.
    #[error("there is no MTA-STS record: publish one TXT record that begins with v=STSv1;")]
    None,
    /// More than one does, so senders take none.
    #[error("there are {count} MTA-STS records, of which senders take none: remove all but one")]
    Multiple {
        /// How many there are.
        count: usize,
    },
    /// The one that does, or nearly does, is wrong.
    #[error(transparent)]
    Invalid(#[from] RecordError),
}

#[cfg(test)]
mod tests;
