//! What was unusual about a report that could be read all the same.

use std::fmt;
use std::ops::BitOr;

/// One way in which senders write reports other than RFC 8460 has it.
///
/// None of them changes what is counted, but those whose docs say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Oddity {
    /// The JSON begins with a byte order mark.
    ByteOrderMark,
    /// The JSON is in UTF-16.
    Utf16,
    /// The JSON is not all UTF-8: other bytes are shown as U+FFFD.
    NotUtf8,
    /// The JSON broke its own rules in a way that could be mended: control characters in strings,
    /// half surrogates, numbers beyond any machine's.
    Mended,
    /// The label says one thing (gzip, JSON, a file name) and the bytes are another.
    Mislabelled,
    /// The body was packed twice.
    PackedTwice,
    /// The gzip file has several members.
    SeveralMembers,
    /// The gzip file ends early, though not before the JSON does.
    PackedCutShort,
    /// Something follows the report that is no report.
    TrailingBytes,
    /// A key comes twice in one object; the later one counts.
    RepeatedKey,
    /// A key in another spelling or case.
    UnusualKey,
    /// A value of another kind: a text for a list, a number for a text.
    UnusualShape,
    /// A count written as text, or as a number with a point.
    CountAsText,
    /// A count greater than [`MAX_COUNT`](crate::limits::MAX_COUNT) stands for that. **Changes what is
    /// counted**, and says that the sender is not to be believed.
    CountSaturated,
    /// A date without a zone (read as UTC), or in another form.
    UnusualDate,
    /// No report id.
    NoReportId,
    /// A policy without a domain: see [`Found::domain_of`](crate::Found::domain_of).
    NoPolicyDomain,
    /// A text longer than [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES) has been cut.
    TextCut,
    /// A list longer than [`MAX_LINES`](crate::limits::MAX_LINES) has been cut.
    ListCut,
    /// Not all failure details were kept: see [`LeftOut`](crate::LeftOut).
    DetailsLeftOut,
}

impl Oddity {
    /// All of them.
    pub const ALL: [Oddity; 20] = [
        Oddity::ByteOrderMark,
        Oddity::Utf16,
        Oddity::NotUtf8,
        Oddity::Mended,
        Oddity::Mislabelled,
        Oddity::PackedTwice,
        Oddity::SeveralMembers,
        Oddity::PackedCutShort,
        Oddity::TrailingBytes,
        Oddity::RepeatedKey,
        Oddity::UnusualKey,
        Oddity::UnusualShape,
        Oddity::CountAsText,
        Oddity::CountSaturated,
        Oddity::UnusualDate,
        Oddity::NoReportId,
        Oddity::NoPolicyDomain,
        Oddity::TextCut,
        Oddity::ListCut,
        Oddity::DetailsLeftOut,
    ];

    fn sentence(self) -> &'static str {
        match self {
            Oddity::ByteOrderMark => "the report begins with a byte order mark",
            Oddity::Utf16 => "the report is in UTF-16 instead of UTF-8",
            Oddity::NotUtf8 => "the report has bytes that are not UTF-8",
            Oddity::Mended => "the report broke the rules of JSON and was mended",
            Oddity::Mislabelled => "the attachment is something else than its label says",
            Oddity::PackedTwice => "the report was packed twice",
            Oddity::SeveralMembers => "the gzip file has several members",
            Oddity::PackedCutShort => "the gzip file ends before its checksum",
            Oddity::TrailingBytes => "something follows the report that is no report",
            Oddity::RepeatedKey => "a key comes twice, and the later one counts",
            Oddity::UnusualKey => "a key is spelled unlike RFC 8460",
            Oddity::UnusualShape => "a value is of another kind than RFC 8460 has it",
            Oddity::CountAsText => "a count is not written as a whole number",
            Oddity::CountSaturated => "a count is too great to be true",
            Oddity::UnusualDate => "a date has no zone or another form, and was read as UTC",
            Oddity::NoReportId => "the report has no id",
            Oddity::NoPolicyDomain => "a policy does not say which domain it is for",
            Oddity::TextCut => "a text was too long and has been cut",
            Oddity::ListCut => "a list was too long and has been cut",
            Oddity::DetailsLeftOut => "only the first failure details were kept",
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// A set of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Oddities(u32);

impl Oddities {
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `oddity` is among them.
    pub fn contains(self, oddity: Oddity) -> bool {
        self.0 & bit(oddity) != 0
    }

    /// Each once, in the order of [`Oddity::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Oddity> {
        Oddity::ALL.into_iter().filter(move |oddity| self.contains(*oddity))
    }

    pub(crate) fn insert(&mut self, oddity: Oddity) {
        self.0 |= bit(oddity);
    }
}

impl BitOr for Oddities {
    type Output = Oddities;

    fn bitor(self, other: Oddities) -> Oddities {
        Oddities(self.0 | other.0)
    }
}

fn bit(oddity: Oddity) -> u32 {
    1 << oddity as u8
}

impl fmt::Debug for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Oddity> for Oddities {
    fn from_iter<I: IntoIterator<Item = Oddity>>(oddities: I) -> Oddities {
        let mut set = Oddities::default();
        for oddity in oddities {
            set.insert(oddity);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for oddity in Oddity::ALL {
            let set: Oddities = [oddity].into_iter().collect();
            assert!(set.iter().eq([oddity]), "{oddity:?}");
        }
        assert!(Oddities::default().is_empty());
        assert!(Oddity::ALL.into_iter().collect::<Oddities>().iter().eq(Oddity::ALL));
    }
}
