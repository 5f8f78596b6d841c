//! Instants for people: in UTC, and how far off.

use jiff::Timestamp;
use wire::time::from_wire;

use crate::cli::duration;

/// An instant of a message as `2026-11-23 10:00 UTC (3m ago)`; `-` where there is none.
pub(crate) fn when(at: Option<&wire::Timestamp>, now: Timestamp) -> String {
    let Some(at) = at.and_then(from_wire) else {
        return "-".to_owned();
    };
    let seconds = at.as_second() - now.as_second();
    let far = duration::show(seconds.unsigned_abs());
    // The largest unit tells enough.
    let far = far.split(' ').next().unwrap_or_default();
    let relative = match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {far}"),
        _ => format!("{far} ago"),
    };
    format!("{} UTC ({relative})", at.strftime("%Y-%m-%d %H:%M"))
}

#[cfg(test)]
mod tests {
    use wire::time::to_wire;

    use super::*;

    #[test]
    fn an_instant_is_shown_in_utc_and_by_its_distance() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (at, shown) in [
            ("2026-11-23T09:57:00Z", "2026-11-23 09:57 UTC (3m ago)"),
            ("2026-11-23T10:00:00Z", "2026-11-23 10:00 UTC (now)"),
            ("2026-11-30T12:00:00Z", "2026-11-30 12:00 UTC (in 1w)"),
        ] {
            assert_eq!(when(Some(&to_wire(at.parse().unwrap())), now), shown);
        }
        assert_eq!(when(None, now), "-");
    }
}
