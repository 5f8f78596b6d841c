//! Lengths of time as people type them.

use std::time::Duration;

const SECONDS: [(&str, u64); 5] =
    [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600), ("w", 7 * 24 * 3600)];

/// Reads `90`, `90s`, `10m`, `2h`, `1d` or `1w`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit =
        SECONDS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1));
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| "write a number and s, m, h, d or w, for example 90s, 10m, 1w".to_owned())?;
    let total = number.checked_mul(seconds).ok_or("that is too long")?;
    Ok(Duration::from_secs(total))
}

/// Reads a `max_age`.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    u32::try_from(parse(text)?.as_secs()).map_err(|_| "that is too long".to_owned())
}

/// Writes a length of time in its two largest units, for example `1w`, `2d 3h`, `45s`.
pub(crate) fn show(seconds: u64) -> String {
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in SECONDS.iter().rev() {
        if rest >= *size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    match parts.is_empty() {
        true => "0s".to_owned(),
        false => parts.iter().take(2).cloned().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_type_them() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), (" 1w ", 604_800), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "-1", "1.5h", "1x", "99999999999999999999", "99999999999999999w"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_are_shown_in_two_units() {
        for (seconds, text) in [(0, "0s"), (45, "45s"), (604_800, "1w"), (183_661, "2d 3h")] {
            assert_eq!(show(seconds), text);
        }
    }
}
