//! The days that a report is about.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Serialize, Serializer};

use crate::limits::{MAX_AGE_DAYS, MAX_AHEAD_HOURS, MAX_RANGE_DAYS};

/// From when to when sessions were counted
/// ([RFC 8460 section 4.4](https://www.rfc-editor.org/rfc/rfc8460#section-4.4), `date-range`).
///
/// The end is the last second of the day or the midnight after it, as the sender likes:
/// [`days`](DateRange::days) makes no difference between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct DateRange {
    /// `start-datetime`
    #[serde(rename = "start-datetime", serialize_with = "as_text")]
    pub start: Timestamp,
    /// `end-datetime`
    #[serde(rename = "end-datetime", serialize_with = "as_text")]
    pub end: Timestamp,
}

fn as_text<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(instant)
}

impl DateRange {
    /// The days of UTC that the range touches, at most [`MAX_RANGE_DAYS`] and one; the first alone
    /// where the end is not after the start. A midnight at the end begins no further day.
    pub fn days(&self) -> impl Iterator<Item = Date> + use<> {
        let first = utc(self.start).date();
        let last_instant = self.end.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(self.end);
        let last = utc(last_instant).date().max(first);
        let days = first.series(1.day()).take_while(move |day| *day <= last);
        days.take(MAX_RANGE_DAYS as usize + 1)
    }

    /// The gravest reason not to believe the range, as seen at `now`.
    pub fn doubt(&self, now: Timestamp) -> Option<Doubt> {
        let seconds = self.end.as_second() - self.start.as_second();
        let age = now.as_second() - self.end.as_second();
        if seconds < 0 {
            Some(Doubt::Reversed)
        } else if seconds > MAX_RANGE_DAYS * DAY {
            Some(Doubt::TooLong { days: seconds / DAY })
        } else if age > MAX_AGE_DAYS * DAY {
            Some(Doubt::FarPast { days: age / DAY })
        } else if age < -MAX_AHEAD_HOURS * 3_600 {
            Some(Doubt::Future)
        } else {
            None
        }
    }
}

/// Seconds.
const DAY: i64 = 24 * 3_600;

fn utc(instant: Timestamp) -> DateTime {
    TimeZone::UTC.to_datetime(instant)
}

/// Why the dates of a report are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It ends before it begins.
    Reversed,
    /// It spans more than [`MAX_RANGE_DAYS`].
    TooLong {
        /// How many.
        days: i64,
    },
    /// It ended more than [`MAX_AGE_DAYS`] ago.
    FarPast {
        /// How long ago.
        days: i64,
    },
    /// It ends more than [`MAX_AHEAD_HOURS`] from now.
    Future,
}

impl Doubt {
    /// Whether the counts cannot be laid to any day, so that the report must not be counted. The
    /// others can, and are merely strange.
    pub fn is_grave(self) -> bool {
        matches!(self, Doubt::Reversed | Doubt::TooLong { .. })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Reversed => f.write_str("the report ends before it begins"),
            Doubt::TooLong { days } => {
                write!(f, "the report spans {days} days, of which {MAX_RANGE_DAYS} are believed")
            }
            Doubt::FarPast { days } => write!(f, "the report ended {days} days ago"),
            Doubt::Future => f.write_str("the report ends in the future"),
        }
    }
}

/// Which end of a range a date stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

/// Reads a date as RFC 8460 has it, or in another form that leaves no doubt what is meant; the
/// flag says which. A date without a zone is UTC, as Microsoft wrote it in January 2023.
pub(crate) fn read_instant(text: &str, edge: Edge) -> Option<(Timestamp, bool)> {
    let text = text.trim();
    if let Ok(instant) = text.parse() {
        return Some((instant, true));
    }
    unusual(text, edge).map(|instant| (instant, false))
}

fn unusual(text: &str, edge: Edge) -> Option<Timestamp> {
    if let Ok(number) = text.parse() {
        return from_number(number);
    }
    // A day alone means the whole of it, at either end.
    if let Ok(day) = text.parse::<Date>()
        && !text.contains([':', 'T', 't'])
    {
        let day = if edge == Edge::End { day.tomorrow().ok()? } else { day };
        return at_utc(day.to_datetime(Default::default()));
    }
    if let Ok(date_time) = text.parse::<DateTime>() {
        return at_utc(date_time);
    }
    if let Some((day, "24:00:00" | "24:00:00Z")) = text.split_once(['T', ' ']) {
        let day: Date = day.parse().ok()?;
        return at_utc(day.tomorrow().ok()?.to_datetime(Default::default()));
    }
    rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

fn at_utc(date_time: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(date_time).ok()
}

/// Seconds since 1970, or milliseconds where seconds would lie beyond the year 5000.
pub(crate) fn from_number(number: i64) -> Option<Timestamp> {
    if number.unsigned_abs() < 100_000_000_000 {
        Timestamp::from_second(number).ok()
    } else {
        Timestamp::from_millisecond(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> DateRange {
        DateRange { start: start.parse().unwrap(), end: end.parse().unwrap() }
    }

    #[test]
    fn a_date_is_read_in_any_form_that_leaves_no_doubt() {
        fn check(text: &str, expected: &str, usual: bool) {
            let read = read_instant(text, Edge::Start).map(|(at, usual)| (at.to_string(), usual));
            assert_eq!(read, Some((expected.to_owned(), usual)), "{text:?}");
        }
        check("2026-02-03T00:00:00Z", "2026-02-03T00:00:00Z", true);
        check("2026-02-03t00:00:00z", "2026-02-03T00:00:00Z", true);
        check(" 2026-02-03T00:00:00.250Z ", "2026-02-03T00:00:00.25Z", true);
        check("2026-02-03T01:00:00+01:00", "2026-02-03T00:00:00Z", true);
        check("2026-02-03 00:00:00Z", "2026-02-03T00:00:00Z", true);
        check("2026-02-03T00:00:00", "2026-02-03T00:00:00Z", false);
        check("2026-02-03 23:59:59", "2026-02-03T23:59:59Z", false);
        check("2026-02-03", "2026-02-03T00:00:00Z", false);
        check("2026-02-03T24:00:00Z", "2026-02-04T00:00:00Z", false);
        check("Tue, 3 Feb 2026 00:00:00 +0000", "2026-02-03T00:00:00Z", false);
        check("1770076800", "2026-02-03T00:00:00Z", false);
        check("1770076800000", "2026-02-03T00:00:00Z", false);
    }

    #[test]
    fn a_day_alone_lasts_to_its_end() {
        let (end, _) = read_instant("2026-02-03", Edge::End).unwrap();
        assert_eq!(end.to_string(), "2026-02-04T00:00:00Z");
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "03/02/2026", "99999999999999999999"]
        {
            assert_eq!(read_instant(text, Edge::Start), None, "{text:?}");
        }
    }

    #[test]
    fn a_range_touches_each_day_once() {
        fn check(start: &str, end: &str, days: &[&str]) {
            let found: Vec<String> = range(start, end).days().map(|day| day.to_string()).collect();
            assert_eq!(found, days, "{start} {end}");
        }
        check("2026-02-03T00:00:00Z", "2026-02-03T23:59:59Z", &["2026-02-03"]);
        check("2026-02-03T00:00:00Z", "2026-02-04T00:00:00Z", &["2026-02-03"]);
        check("2026-02-03T11:00:00Z", "2026-02-03T12:00:00Z", &["2026-02-03"]);
        check("2026-02-03T00:00:00Z", "2026-02-03T00:00:00Z", &["2026-02-03"]);
        check("2026-02-03T00:00:00Z", "2026-01-01T00:00:00Z", &["2026-02-03"]);
        check(
            "2026-02-03T22:00:00Z",
            "2026-02-05T22:00:00Z",
            &["2026-02-03", "2026-02-04", "2026-02-05"],
        );
        assert_eq!(range("0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z").days().count(), 32);
        assert_eq!(DateRange { start: Timestamp::MIN, end: Timestamp::MIN }.days().count(), 1);
        assert_eq!(DateRange { start: Timestamp::MAX, end: Timestamp::MAX }.days().count(), 1);
    }

    #[test]
    fn dates_out_of_the_ordinary_are_doubted() {
        fn check(start: &str, end: &str, expected: Option<Doubt>) {
            let now = "2026-02-04T03:00:00Z".parse().unwrap();
            assert_eq!(range(start, end).doubt(now), expected, "{start} {end}");
        }
        check("2026-02-03T00:00:00Z", "2026-02-04T00:00:00Z", None);
        check("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", None);
        check("2026-02-04T03:00:00Z", "2026-02-05T03:00:00Z", None);
        check("2025-02-03T00:00:00Z", "2025-02-04T03:00:00Z", None);
        check("2026-02-03T00:00:01Z", "2026-02-03T00:00:00Z", Some(Doubt::Reversed));
        check("2026-01-01T00:00:00Z", "2026-02-01T00:00:01Z", Some(Doubt::TooLong { days: 31 }));
        check("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", Some(Doubt::TooLong { days: 365 }));
        check("2016-04-01T00:00:00Z", "2016-04-02T00:00:00Z", Some(Doubt::FarPast { days: 3595 }));
        check("2026-02-04T03:00:00Z", "2026-02-05T03:00:01Z", Some(Doubt::Future));
        let all = DateRange { start: Timestamp::MIN, end: Timestamp::MAX };
        assert!(matches!(all.doubt(Timestamp::MAX), Some(Doubt::TooLong { .. })));
        let now = Timestamp::MIN;
        assert_eq!(
            DateRange { start: Timestamp::MAX, end: Timestamp::MAX }.doubt(now),
            Some(Doubt::Future)
        );
    }
}
