//! A policy file as a sender reads it.

use std::fmt;

use crate::mode::InvalidMode;
use crate::mx::InvalidMxPattern;
use crate::name::{self, MAX_FIELD_NAME_BYTES};
use crate::policy::InvalidPolicy;
use crate::{MAX_AGE_SECONDS, MAX_BODY_BYTES, Mode, MxPattern, Policy};

/// A policy read from a file, and what is odd about the file though senders accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What the file says.
    pub policy: Policy,
    /// What its owner may want to change, in the order of the file: at most one per line, and one
    /// for the whole.
    pub warnings: Vec<Warning>,
}

impl Policy {
    /// Reads a policy file the way a sender does
    /// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)).
    ///
    /// Tolerant where that section is: lines end in CRLF or LF, the last one may have no end, space
    /// and tab may follow a colon or a value, fields come in any order, unknown ones are ignored,
    /// and so is a repeated one other than `mx`. The last two leave a [`Warning`].
    /// Strict where it is silent: there are no blank lines, no comments, no byte order mark and no
    /// space before a colon, and the names of fields and modes are in lower case.
    ///
    /// Stricter than the grammar in two ways: an `mx` is never an IP address, which no sender could
    /// make use of, and there are at most [`MAX_MX_PATTERNS`](crate::MAX_MX_PATTERNS).
    ///
    /// # Errors
    ///
    /// A sender would take none of the file: it goes on with the policy it has, if it has one.
    pub fn parse(body: &[u8]) -> Result<Parsed, ParseError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(ParseError::TooLong { bytes: body.len() });
        }
        let mut fields = Fields::default();
        for (index, line) in body.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            fields.read(number, line).map_err(|wrong| ParseError::Line { line: number, wrong })?;
        }
        fields.into_parsed()
    }
}

/// What the lines read so far have said.
#[derive(Default)]
struct Fields {
    version: bool,
    mode: Option<Mode>,
    max_age_seconds: Option<u32>,
    mx: Vec<MxPattern>,
    warnings: Vec<Warning>,
}

impl Fields {
    fn read(&mut self, number: usize, line: &[u8]) -> Result<(), LineError> {
        let (name, value) = split_field(line)?;
        match name {
            "version" if !self.version => {
                check_version(value)?;
                self.version = true;
            }
            "mode" if self.mode.is_none() => self.mode = Some(value.parse()?),
            "max_age" if self.max_age_seconds.is_none() => {
                self.max_age_seconds = Some(parse_max_age(value)?);
            }
            "mx" => self.mx.push(value.parse()?),
            // Of a repeated field the first entry counts, and what the others say is not even
            // looked at (RFC 8461 section 3.2).
            "version" | "mode" | "max_age" => {
                self.warnings.push(Warning::RepeatedField { line: number, name: name.to_owned() });
            }
            _ => self.warnings.push(Warning::UnknownField { line: number, name: name.to_owned() }),
        }
        Ok(())
    }

    fn into_parsed(mut self) -> Result<Parsed, ParseError> {
        if !self.version {
            return Err(ParseError::Missing { field: "version" });
        }
        let mode = self.mode.ok_or(ParseError::Missing { field: "mode" })?;
        let max_age = self.max_age_seconds.ok_or(ParseError::Missing { field: "max_age" })?;
        let policy = Policy::new(mode, self.mx, max_age)?;
        if policy.mx.is_empty() {
            self.warnings.push(Warning::NoMx);
        }
        Ok(Parsed { policy, warnings: self.warnings })
    }
}

/// Splits `name: value`, of which the value is without the space around it.
fn split_field(line: &[u8]) -> Result<(&str, &str), LineError> {
    let line = without_end(line);
    let line = str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    if line.starts_with('\u{feff}') {
        return Err(LineError::ByteOrderMark);
    }
    // Nothing else is white space here: a CR, say, is a stray character.
    let space = [' ', '\t'];
    if line.trim_matches(space).is_empty() {
        return Err(LineError::Blank);
    }
    let (name, value) = line.split_once(':').ok_or(LineError::NoColon)?;
    if !name::is_field_name(name) {
        return Err(LineError::FieldName);
    }
    let value = value.trim_matches(space);
    if value.is_empty() {
        return Err(LineError::NoValue);
    }
    match value.chars().find(char::is_ascii_control) {
        Some(found) => Err(LineError::Control { found }),
        None => Ok((name, value)),
    }
}

/// The line without its CRLF or LF. A CR alone ends no line, not even the last.
fn without_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

fn check_version(value: &str) -> Result<(), LineError> {
    if value == "STSv1" { Ok(()) } else { Err(LineError::Version) }
}

fn parse_max_age(value: &str) -> Result<u32, LineError> {
    // At most ten digits, in which zeros may lead; `parse` alone would take a sign as well.
    let is_number = value.len() <= 10 && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(seconds) if is_number && seconds <= MAX_AGE_SECONDS => Ok(seconds),
        _ => Err(LineError::MaxAge),
    }
}

/// Why senders take nothing from a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// More than senders read.
    #[error("the policy is {bytes} bytes long: shorten it to {MAX_BODY_BYTES} or less")]
    TooLong {
        /// Length of the file.
        bytes: usize,
    },
    /// One line is wrong.
    #[error("line {line}: {wrong}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        wrong: LineError,
    },
    /// A field that each policy has is in none of the lines.
    #[error("there is no {field}: add a line that begins with {field} in lower case and a colon")]
    Missing {
        /// `version`, `mode` or `max_age`.
        field: &'static str,
    },
    /// Each line is right, but together they make no policy.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
}

/// What is wrong with one line of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing, or only space. The file may end in one line end, not in two.
    #[error("the line is blank: remove it")]
    Blank,
    /// Bytes that are not UTF-8.
    #[error("the line is not UTF-8: save the file as plain ASCII")]
    NotUtf8,
    /// The invisible first character that some editors write.
    #[error("the line begins with a byte order mark: save the file without one")]
    ByteOrderMark,
    /// No colon.
    #[error("there is no colon: write a field name, a colon and a value")]
    NoColon,
    /// What stands before the colon is no field name, or space stands there too.
    #[error(
        "no field name stands before the colon: write up to {MAX_FIELD_NAME_BYTES} letters and \
         digits, with no space around them"
    )]
    FieldName,
    /// Nothing after the colon.
    #[error("no value stands after the colon: write one or remove the line")]
    NoValue,
    /// A control character in the value: a tab between words, or a CR that ends no line.
    #[error("the value contains {found:?}: remove this character")]
    Control {
        /// The character.
        found: char,
    },
    /// Not the one version there is.
    #[error("no such version: write STSv1, in this case")]
    Version,
    /// Not one of the three modes.
    #[error(transparent)]
    Mode(#[from] InvalidMode),
    /// Not a number of seconds, or more than a policy can ask for.
    #[error(
        "max_age is not in range: write whole seconds from 0 to {MAX_AGE_SECONDS}, in digits only"
    )]
    MaxAge,
    /// Not a host or a wildcard.
    #[error(transparent)]
    Mx(#[from] InvalidMxPattern),
}

/// Something in a policy file that senders accept and its owner hardly meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Ignored by senders: an extension, or a mistyped name.
    UnknownField {
        /// Number of the line, from 1.
        line: usize,
        /// The name as written.
        name: String,
    },
    /// Ignored by senders: the field has been given on an earlier line.
    RepeatedField {
        /// Number of the line, from 1.
        line: usize,
        /// `version`, `mode` or `max_age`.
        name: String,
    },
    /// A policy in mode `none` without patterns. The RFC allows it; chasquid 1.11 for one does not.
    NoMx,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnknownField { line, name } => {
                write!(f, "line {line}: senders ignore {name}: check its spelling or remove it")
            }
            Warning::RepeatedField { line, name } => {
                write!(f, "line {line}: senders ignore this repeated {name}: remove it")
            }
            Warning::NoMx => {
                f.write_str("some senders refuse a policy without mx, in mode none too: add one")
            }
        }
    }
}

#[cfg(test)]
mod tests;
