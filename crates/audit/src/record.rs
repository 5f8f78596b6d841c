//! What is written down of a change, within bounds.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use service::caller::{Call, Caller};

/// The chain of what belongs to no workspace: regions, workspaces themselves. No workspace may have this
/// as its id.
pub const PLATFORM: &str = "platform";

/// The chain that tells of all chains: one record for each, written when it begins. No workspace's id
/// can be this.
pub const REGISTER: &str = "*";

/// The register's record of a chain.
pub(crate) const BEGIN: &str = "chain.begin";

/// Notes, in a chain, that it was not as it had been written when it was to be continued.
pub(crate) const BROKEN: &str = "chain.broken";

/// Names, ids and domains: a domain name has at most 253 bytes, a mail address 254.
const MAX_TEXT_BYTES: usize = 512;

/// What was and what is: policies and settings have a few KiB.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// Who does what nobody asked for.
const ITSELF: (&str, &str) = ("DMARCER", "dmarcer");

/// One change.
///
/// Texts are kept to 512 bytes, and characters that don't show or turn text around are written as
/// `\u{…}`. JSON of more than 64 KiB is not kept: its length and SHA-256 are, as
/// `{"tooLong": {"bytes": …, "sha256": …}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub(crate) workspace: String,
    pub(crate) who: String,
    pub(crate) who_id: String,
    pub(crate) role: String,
    pub(crate) from: String,
    pub(crate) request_id: String,
    pub(crate) action: String,
    pub(crate) about: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Record {
    /// A change that somebody asked for, in the chain of their workspace. `action` is a noun and a
    /// verb, `policy.promote`; `about` is what it was done to, `example.com`.
    #[must_use]
    pub fn by_call(caller: &Caller, call: &Call, action: &str, about: &str) -> Record {
        Record {
            workspace: shown(&caller.workspace),
            who: shown(&caller.name),
            who_id: shown(&caller.id),
            role: caller.role.as_str().to_owned(),
            from: call.from.map(|from| from.to_canonical().to_string()).unwrap_or_default(),
            request_id: shown(&call.request_id),
            action: shown(action),
            about: shown(about),
            before: None,
            after: None,
        }
    }

    /// A change that nobody asked for: what a loop found due.
    #[must_use]
    pub fn by_itself(workspace: &str, action: &str, about: &str) -> Record {
        let (who, who_id) = ITSELF;
        Record {
            workspace: shown(workspace),
            who: who.to_owned(),
            who_id: who_id.to_owned(),
            role: String::new(),
            from: String::new(),
            request_id: String::new(),
            action: shown(action),
            about: shown(about),
            before: None,
            after: None,
        }
    }

    /// In the chain of another workspace, or of the [`PLATFORM`].
    #[must_use]
    pub fn in_workspace(self, workspace: &str) -> Record {
        Record { workspace: shown(workspace), ..self }
    }

    /// As it was. No secrets: records are kept for ever.
    #[must_use]
    pub fn before(self, before: Value) -> Record {
        Record { before: Some(bounded(&before)), ..self }
    }

    /// As it is since. No secrets: records are kept for ever.
    #[must_use]
    pub fn after(self, after: Value) -> Record {
        Record { after: Some(bounded(&after)), ..self }
    }
}

/// A text as it is kept and shown: one line, of bounded length, that reads in one direction.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    for character in text.chars() {
        let before = shown.len();
        match character {
            hidden if is_hidden(hidden) => {
                // Writing into a String can't fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(hidden));
            }
            plain => shown.push(plain),
        }
        if shown.len() > MAX_TEXT_BYTES - '…'.len_utf8() {
            shown.truncate(before);
            shown.push('…');
            break;
        }
    }
    shown
}

/// Control characters, line ends of Unicode, and marks that turn text around or show as nothing.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn bounded(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= MAX_JSON_BYTES {
        return text;
    }
    let sha256 = HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref());
    json!({ "tooLong": { "bytes": text.len(), "sha256": sha256 } }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_line_of_bounded_length() {
        let long = "ä".repeat(400);
        let cut = format!("{}…", "ä".repeat(254));
        let cases = [
            ("alice@example.org", "alice@example.org"),
            ("a\nb\0c\u{7f}", "a\\u{a}b\\u{0}c\\u{7f}"),
            ("\u{202e}moc.elpmaxe", "\\u{202e}moc.elpmaxe"),
            ("münchen.example", "münchen.example"),
            (long.as_str(), cut.as_str()),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
        assert!(shown(&"\n".repeat(1000)).len() <= MAX_TEXT_BYTES);
    }

    #[test]
    fn json_that_is_too_long_is_told_of_by_length_and_hash() {
        let record = Record::by_itself("acme", "a.b", "c").before(json!("x".repeat(70_000)));
        let before: Value = serde_json::from_str(&record.before.unwrap()).unwrap();
        assert_eq!(before["tooLong"]["bytes"], 70_002);
        assert_eq!(before["tooLong"]["sha256"].as_str().unwrap().len(), 64);
        let record = Record::by_itself("acme", "a.b", "c").after(json!({ "mode": "enforce" }));
        assert_eq!(record.after.as_deref(), Some(r#"{"mode":"enforce"}"#));
    }
}
