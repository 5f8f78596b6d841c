//! Instants on the wire and in the code.

use jiff::Timestamp;

/// An instant as protobuf writes it.
pub fn to_wire(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    prost_types::Timestamp {
        // jiff's range is ±10,000 years, far inside i64 seconds.
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

/// An instant from protobuf; none where it is outside of what can be written as a date.
pub fn from_wire(at: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_wire() {
        for text in ["1969-12-31T23:59:59.5Z", "2026-11-23T10:00:00.000000001Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(from_wire(&to_wire(at)), Some(at));
        }
    }

    #[test]
    fn an_instant_that_is_no_date_is_none() {
        let far = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(from_wire(&far), None);
    }
}
