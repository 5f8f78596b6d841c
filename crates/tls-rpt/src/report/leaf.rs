//! Values that hold no others, each read from whatever senders write for it.

use jiff::Timestamp;
use serde::de::{MapAccess, SeqAccess};

use super::ReportError;
use super::read::Notes;
use super::value::{Kind, Read, Scalar, Skip};
use crate::limits::{MAX_COUNT, MAX_LINES};
use crate::oddity::Oddity;
use crate::range::{self, Edge};
use crate::text;

/// A text; of a list of texts the first. A number or a truth stands for its digits or letters.
pub(super) struct Text<'r>(pub(super) &'r mut Notes);

impl<'de> Kind<'de> for Text<'_> {
    type Value = Option<String>;

    fn notes(&mut self) -> &mut Notes {
        self.0
    }

    fn absent(&mut self) -> Option<String> {
        None
    }

    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<Option<String>, ReportError> {
        if let Scalar::Text(text) = scalar {
            return Ok(text::clean(text, &mut self.0.oddities));
        }
        self.0.note(Oddity::UnusualShape);
        Ok(Some(scalar.to_string()))
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<Option<String>, A::Error> {
        self.0.note(Oddity::UnusualShape);
        let first = list.next_element_seed(Read(Text(self.0)))?.flatten();
        Skip::new(self.0).list(list)?;
        Ok(first)
    }
}

/// A domain or host name.
pub(super) struct Domain<'r>(pub(super) &'r mut Notes);

impl<'de> Kind<'de> for Domain<'_> {
    type Value = Option<String>;

    fn notes(&mut self) -> &mut Notes {
        self.0
    }

    fn absent(&mut self) -> Option<String> {
        None
    }

    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<Option<String>, ReportError> {
        let Scalar::Text(text) = scalar else {
            self.0.note(Oddity::UnusualShape);
            return Ok(None);
        };
        Ok(text::domain(text, &mut self.0.oddities))
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<Option<String>, A::Error> {
        self.0.note(Oddity::UnusualShape);
        let first = list.next_element_seed(Read(Domain(self.0)))?.flatten();
        Skip::new(self.0).list(list)?;
        Ok(first)
    }
}

/// A list of texts, one per line of what they show; a text alone is a list of its lines.
///
/// The RFC's own example has `mx-host` as a text alone, which an erratum corrects
/// ([6241](https://www.rfc-editor.org/errata/eid6241)). Microsoft writes the records of a DANE
/// policy as one text that is JSON itself, `["3 1 1 …","3 1 1 …"]`: that list is taken out.
pub(super) struct Lines<'r>(pub(super) &'r mut Notes);

impl Lines<'_> {
    fn push(&mut self, lines: &mut Vec<String>, text: &str) {
        let packed = text.trim_start().starts_with('[').then(|| serde_json::from_str(text));
        if let Some(Ok(packed)) = packed {
            let packed: Vec<String> = packed;
            packed.iter().for_each(|text| self.push_plain(lines, text));
        } else {
            self.push_plain(lines, text);
        }
    }

    fn push_plain(&mut self, lines: &mut Vec<String>, text: &str) {
        for line in text.split(['\r', '\n']) {
            let Some(line) = text::clean(line, &mut self.0.oddities) else { continue };
            if lines.len() == MAX_LINES || self.0.room.lines == 0 {
                self.0.note(Oddity::ListCut);
                return;
            }
            self.0.room.lines -= 1;
            lines.push(line);
        }
    }
}

impl<'de> Kind<'de> for Lines<'_> {
    type Value = Vec<String>;

    fn notes(&mut self) -> &mut Notes {
        self.0
    }

    fn absent(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<Vec<String>, ReportError> {
        self.0.note(Oddity::UnusualShape);
        let mut lines = Vec::new();
        match scalar {
            Scalar::Text(text) => self.push(&mut lines, text),
            other => self.push_plain(&mut lines, &other.to_string()),
        }
        Ok(lines)
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut lines = Vec::new();
        while list.next_element_seed(Read(Line { lines: &mut lines, of: self }))?.is_some() {}
        Ok(lines)
    }
}

/// One text of a list of them.
struct Line<'l, 'r> {
    lines: &'l mut Vec<String>,
    of: &'l mut Lines<'r>,
}

impl<'de> Kind<'de> for Line<'_, '_> {
    type Value = ();

    fn notes(&mut self) -> &mut Notes {
        self.of.0
    }

    fn absent(&mut self) {}

    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<(), ReportError> {
        match scalar {
            Scalar::Text(text) => self.of.push(self.lines, text),
            other => {
                self.of.0.note(Oddity::UnusualShape);
                self.of.push_plain(self.lines, &other.to_string());
            }
        }
        Ok(())
    }
}

/// A number of sessions; none where it is absent. Whatever else it is, it is no report that could
/// be counted, and the whole of it is refused.
pub(super) struct Count<'r> {
    pub(super) field: &'static str,
    pub(super) notes: &'r mut Notes,
}

impl Count<'_> {
    fn bad(&self, found: &str) -> ReportError {
        ReportError::BadCount { field: self.field, found: beginning(found) }
    }

    fn whole(&mut self, number: u64) -> u64 {
        if number > MAX_COUNT {
            self.notes.note(Oddity::CountSaturated);
        }
        number.min(MAX_COUNT)
    }

    fn float(&mut self, number: f64) -> Result<u64, ReportError> {
        if !(number >= 0.0 && number.fract() == 0.0) {
            return Err(self.bad(&number.to_string()));
        }
        // A cast stops at the greatest of its type, which is over the limit.
        Ok(self.whole(number as u64))
    }

    fn text(&mut self, text: &str) -> Result<u64, ReportError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(0);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            // Digits alone fail only for being too many.
            return Ok(self.whole(text.parse().unwrap_or(u64::MAX)));
        }
        let has_digits = text.starts_with(|first: char| first.is_ascii_digit());
        match text.parse() {
            Ok(number) if has_digits => self.float(number),
            _ => Err(self.bad(text)),
        }
    }
}

impl<'de> Kind<'de> for Count<'_> {
    type Value = u64;

    fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    fn absent(&mut self) -> u64 {
        0
    }

    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<u64, ReportError> {
        match scalar {
            Scalar::Whole(number) => Ok(self.whole(number)),
            Scalar::Float(number) => {
                self.notes.note(Oddity::CountAsText);
                self.float(number)
            }
            Scalar::Text(text) => {
                self.notes.note(Oddity::CountAsText);
                self.text(text)
            }
            Scalar::Negative(_) | Scalar::Bool(_) => Err(self.bad(&scalar.to_string())),
        }
    }

    fn list<A: SeqAccess<'de>>(&mut self, _: A) -> Result<u64, A::Error> {
        let why = self.bad("a list");
        Err(self.notes.refuse(why))
    }

    fn object<A: MapAccess<'de>>(&mut self, _: A) -> Result<u64, A::Error> {
        let why = self.bad("an object");
        Err(self.notes.refuse(why))
    }
}

/// A date and time.
pub(super) struct Instant<'r> {
    pub(super) field: &'static str,
    pub(super) edge: Edge,
    pub(super) notes: &'r mut Notes,
}

impl<'de> Kind<'de> for Instant<'_> {
    type Value = Option<Timestamp>;

    fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    fn absent(&mut self) -> Option<Timestamp> {
        None
    }

    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<Option<Timestamp>, ReportError> {
        let read = match scalar {
            Scalar::Text(text) if text.trim().is_empty() => return Ok(None),
            Scalar::Text(text) => range::read_instant(text, self.edge),
            Scalar::Whole(number) => {
                let number = i64::try_from(number).ok();
                number.and_then(range::from_number).map(|instant| (instant, false))
            }
            _ => None,
        };
        let Some((instant, usual)) = read else {
            let found = beginning(&scalar.to_string());
            return Err(ReportError::BadDate { field: self.field, found });
        };
        if !usual {
            self.notes.note(Oddity::UnusualDate);
        }
        Ok(Some(instant))
    }
}

/// So much of a text as fits into an error.
fn beginning(text: &str) -> String {
    const LONGEST: usize = 40;
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
