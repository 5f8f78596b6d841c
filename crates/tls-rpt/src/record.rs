//! The TXT record that asks for reports.

use std::fmt;

use crate::limits::MAX_TARGETS;
use crate::target::{InvalidTarget, Target};

mod merge;

pub use merge::{MergeError, Merged};

/// How the one known version begins a record, in exactly these letters.
const VERSION: &str = "v=TLSRPTv1";

/// What the grammar calls `WSP`.
const SPACE: [char; 2] = [' ', '\t'];

/// Longest name of a field.
const MAX_FIELD_NAME_BYTES: usize = 32;

/// The TXT value at [`record_name`](crate::record_name) of a domain,
/// `v=TLSRPTv1; rua=mailto:reports@example.com`
/// ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// Where reports go. A sender may use all of them or only the first.
    pub rua: Vec<Target>,
    /// Fields that we do not know, `name=value` each, kept so that a record that is changed keeps them.
    pub extensions: Vec<String>,
}

/// A record as it was read, and what is wrong with it though some senders read it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedRecord {
    /// What the lenient make of it, which is what was meant.
    pub record: Record,
    /// What its owner should change.
    pub warnings: Vec<Warning>,
}

impl ParsedRecord {
    /// Whether the record keeps to the grammar. Where it does not, a strict sender (mox is one)
    /// sees no record at all, however small the fault.
    pub fn is_strict(&self) -> bool {
        !self.warnings.iter().any(Warning::breaks_grammar)
    }
}

impl Record {
    /// The record as published, without a semicolon at its end.
    pub fn render(&self) -> String {
        let rua: Vec<&str> = self.rua.iter().map(Target::as_str).collect();
        let mut text = format!("{VERSION}; rua={}", rua.join(","));
        for extension in &self.extensions {
            text.push_str("; ");
            text.push_str(extension);
        }
        text
    }

    /// Reads one TXT value, its character-strings joined without a space between them.
    ///
    /// Reads what was meant, as lenient senders do, and warns of what strict ones stumble over.
    /// Several `rua` are read as one: the grammar allows them.
    pub fn parse(txt: &str) -> Result<ParsedRecord, RecordError> {
        parse(txt.as_bytes())
    }

    /// Whether a TXT value begins with `v=TLSRPTv1;`, so that a sender counts it as a TLS-RPT record
    /// at all, be the rest right or wrong. One with a space before the semicolon is none to us: the
    /// grammar allows it, but the prose has senders discard it.
    pub fn is_candidate(txt: &[u8]) -> bool {
        txt.strip_prefix(VERSION.as_bytes()).is_some_and(|rest| rest.starts_with(b";"))
    }

    /// The record among all TXT values at [`record_name`](crate::record_name), each with its
    /// character-strings joined, by the rule that senders follow: of the values that begin with
    /// `v=TLSRPTv1;` there must be exactly one
    /// ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3)).
    ///
    /// # Errors
    ///
    /// To a sender they are all the same: nobody wants reports. Where no value counts but one
    /// nearly does, the error is [`FindError::Invalid`] and says so.
    pub fn find<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<ParsedRecord, FindError> {
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

fn parse(txt: &[u8]) -> Result<ParsedRecord, RecordError> {
    check_version(txt)?;
    let txt = check_ascii(txt)?;
    let mut reader = Reader::default();
    // Behind the version and its semicolon. A semicolon at the end begins no further field.
    let fields = txt.get(VERSION.len() + 1..).unwrap_or_default().trim_matches(SPACE);
    for field in fields.strip_suffix(';').unwrap_or(fields).split(';') {
        reader.field(field.trim_matches(SPACE));
    }
    if !reader.has_rua {
        return Err(RecordError::MissingRua);
    }
    if reader.record.rua.is_empty() {
        return Err(RecordError::NoTarget);
    }
    Ok(ParsedRecord { record: reader.record, warnings: reader.warnings })
}

#[derive(Default)]
struct Reader {
    has_rua: bool,
    record: Record,
    warnings: Vec<Warning>,
}

impl Reader {
    fn field(&mut self, field: &str) {
        let Some((name, value)) = field.split_once('=') else {
            return self.warn(Warning::BadField { found: field.to_owned() });
        };
        if name.trim_matches(SPACE).eq_ignore_ascii_case("rua") {
            if self.has_rua {
                self.warn(Warning::RepeatedRua);
            }
            if name != "rua" || value.starts_with(SPACE) {
                self.warn(Warning::RuaForm);
            }
            self.has_rua = true;
            value.split(',').for_each(|entry| self.target(entry.trim_matches(SPACE)));
        } else if is_extension(name, value) {
            self.warn(Warning::UnknownField { name: name.to_owned() });
            self.record.extensions.push(field.to_owned());
        } else {
            self.warn(Warning::BadField { found: field.to_owned() });
        }
    }

    fn target(&mut self, entry: &str) {
        if entry.is_empty() {
            return self.warn(Warning::EmptyTarget);
        }
        if self.record.rua.len() == MAX_TARGETS {
            return self.warn(Warning::TooManyTargets);
        }
        match entry.parse::<Target>() {
            Ok(target) => {
                if !target.is_known() {
                    self.warn(Warning::UnknownScheme { target: target.to_string() });
                }
                self.record.rua.push(target);
            }
            Err(wrong) => match meant(entry) {
                Some((target, warning)) => {
                    self.warn(warning);
                    self.record.rua.push(target);
                }
                None => self.warn(Warning::BadTarget { found: entry.to_owned(), wrong }),
            },
        }
    }

    fn warn(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// The target that somebody had in mind who is used to the records of DMARC, or to mail addresses.
fn meant(entry: &str) -> Option<(Target, Warning)> {
    if let Some((uri, size)) = entry.split_once('!') {
        let is_size = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let target = uri.parse().ok().filter(|_| is_size)?;
        return Some((target, Warning::SizeSuffix { target: entry.to_owned() }));
    }
    let target = Target::mailto(entry).ok().filter(|_| !entry.contains(':'))?;
    Some((target, Warning::NoScheme { target: entry.to_owned() }))
}

/// `tlsrpt-extension` of the grammar: like a field of MTA-STS, it has a form, whatever its meaning.
fn is_extension(name: &str, value: &str) -> bool {
    name.len() <= MAX_FIELD_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=')
}

/// Checks for `v=TLSRPTv1;`, and tells what nearly is from what never was meant as a record.
fn check_version(txt: &[u8]) -> Result<(), RecordError> {
    if Record::is_candidate(txt) {
        return Ok(());
    }
    let quoted = txt.trim_ascii_start();
    let quoted = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    match quoted.split_at_checked(VERSION.len()) {
        Some((version, rest)) if version.eq_ignore_ascii_case(VERSION.as_bytes()) => {
            if version != VERSION.as_bytes() {
                Err(RecordError::WrongCase)
            } else if quoted.len() < txt.len() {
                Err(RecordError::NotAtBeginning)
            } else if rest.trim_ascii_start().starts_with(b";") {
                Err(RecordError::SpaceBeforeSemicolon)
            } else if rest.first().is_some_and(u8::is_ascii_alphanumeric) {
                // Another version, such as TLSRPTv10.
                Err(RecordError::MissingVersion)
            } else {
                Err(RecordError::NoSemicolon)
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

/// Why no sender finds a target in a TXT value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It does not begin with `v=TLSRPTv1` or anything like it: some other record, most likely.
    #[error("the record does not begin with v=TLSRPTv1; : begin it so, semicolon included")]
    MissingVersion,
    /// It begins with `v=TLSRPTv1` in other letters.
    #[error("the version is in the wrong case: write v=TLSRPTv1")]
    WrongCase,
    /// A quote or a space stands before the version.
    #[error("something stands before v=TLSRPTv1: remove the quote or the space")]
    NotAtBeginning,
    /// It begins with `v=TLSRPTv1 ;`, which some senders discard: see [`Record::is_candidate`].
    #[error("space stands between v=TLSRPTv1 and the semicolon: remove it")]
    SpaceBeforeSemicolon,
    /// Anything but a semicolon follows the version.
    #[error("no semicolon follows v=TLSRPTv1: write one")]
    NoSemicolon,
    /// A byte outside ASCII, often a no-break space pasted from a web page.
    #[error("the record is not ASCII at byte {at}: type the text there anew")]
    NotAscii {
        /// Where the first such byte stands, from 0.
        at: usize,
    },
    /// No `rua=`.
    #[error("the record does not say where reports go: add rua=mailto: and an address")]
    MissingRua,
    /// `rua=` with nothing behind it that reports could be sent to.
    #[error("no target in rua can be used: write mailto: and an address")]
    NoTarget,
}

/// Why senders see no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No value begins with `v=TLSRPTv1;` or anything like it.
    #[error("there is no TLS-RPT record: publish one TXT record that begins with v=TLSRPTv1;")]
    None,
    /// More than one does, so senders take none.
    #[error("there are {count} TLS-RPT records, of which senders take none: merge them into one")]
    Multiple {
        /// How many there are.
        count: usize,
    },
    /// The one that does, or nearly does, is wrong.
    #[error(transparent)]
    Invalid(#[from] RecordError),
}

/// Something in a record that its owner hardly meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A size behind an address, as records of DMARC have it.
    SizeSuffix {
        /// The entry as written.
        target: String,
    },
    /// An address without `mailto:`.
    NoScheme {
        /// The entry as written.
        target: String,
    },
    /// An entry of which nothing can be made.
    BadTarget {
        /// The entry as written.
        found: String,
        /// What is wrong with it.
        wrong: InvalidTarget,
    },
    /// Nothing between two commas.
    EmptyTarget,
    /// A scheme that no sender knows, `http` among them.
    UnknownScheme {
        /// The entry as written.
        target: String,
    },
    /// More than [`MAX_TARGETS`].
    TooManyTargets,
    /// `rua` in capitals, or with space beside its `=`.
    RuaForm,
    /// A second `rua`. The grammar has it, some senders look at the first only.
    RepeatedRua,
    /// A field that senders ignore: an extension, or a mistyped name.
    UnknownField {
        /// Its name.
        name: String,
    },
    /// Something between two semicolons that is not `name=value`.
    BadField {
        /// What stands there.
        found: String,
    },
}

impl Warning {
    /// Whether a strict sender sees no record for it.
    pub fn breaks_grammar(&self) -> bool {
        match self {
            Warning::SizeSuffix { .. }
            | Warning::NoScheme { .. }
            | Warning::BadTarget { .. }
            | Warning::EmptyTarget
            | Warning::RuaForm
            | Warning::BadField { .. } => true,
            Warning::UnknownScheme { .. }
            | Warning::TooManyTargets
            | Warning::RepeatedRua
            | Warning::UnknownField { .. } => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::SizeSuffix { target } => {
                write!(f, "{target}: TLS-RPT knows no size limit: remove the ! and what follows")
            }
            Warning::NoScheme { target } => write!(f, "{target}: write mailto: before the address"),
            Warning::BadTarget { found, wrong } => write!(f, "{found}: {wrong}"),
            Warning::EmptyTarget => f.write_str("nothing stands between two commas: remove one"),
            Warning::UnknownScheme { target } => {
                write!(f, "{target}: senders know mailto: and https: only")
            }
            Warning::TooManyTargets => {
                write!(f, "there are more than {MAX_TARGETS} targets: senders use the first ones")
            }
            Warning::RuaForm => {
                f.write_str("write rua= in lower case without a space beside the =")
            }
            Warning::RepeatedRua => {
                f.write_str("some senders read the first rua only: list all targets in it")
            }
            Warning::UnknownField { name } => {
                write!(f, "senders ignore {name}: check its spelling or remove it")
            }
            Warning::BadField { found } => {
                write!(f, "{found:?} is not of the form name=value: correct or remove it")
            }
        }
    }
}

#[cfg(test)]
mod tests;
