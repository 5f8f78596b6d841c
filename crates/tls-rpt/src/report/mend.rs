//! JSON that other readers take and `serde_json` does not.

use std::borrow::Cow;

/// The text with what senders get wrong in JSON put right; `None` if there is nothing of the kind.
///
/// Only called once reading has failed, so it may take its time. It mends
///
/// * control characters inside a string (a whole SMTP answer pasted into one): a space each,
/// * halves of a surrogate pair (`\ud800`): U+FFFD, as every other reader shows them,
/// * numbers greater than a machine's (`1e400`): the greatest one, so that they count as too great
///   to be true instead of hiding the whole report.
pub(super) fn mend(json: &str) -> Option<String> {
    let mut mended = String::with_capacity(json.len());
    let mut rest = json;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let (piece, kept) = if in_string { string_piece(rest, c) } else { other_piece(rest, c) };
        if c == '"' {
            in_string = !in_string;
        }
        mended.push_str(&kept);
        rest = &rest[piece..];
    }
    (mended != json).then_some(mended)
}

/// The next piece of a string: how many bytes it has, and what to make of it.
fn string_piece(rest: &str, first: char) -> (usize, Cow<'_, str>) {
    if first == '\\' {
        return escape(rest);
    }
    if first.is_ascii_control() {
        return (1, " ".into());
    }
    let plain = |c: char| c != '"' && c != '\\' && !c.is_ascii_control();
    let end = rest.find(|c| !plain(c)).unwrap_or(rest.len()).max(first.len_utf8());
    (end, rest[..end].into())
}

fn escape(rest: &str) -> (usize, Cow<'_, str>) {
    let end = rest.len().min(2);
    let plain = (end, rest.get(..end).unwrap_or("\\").into());
    let Some(unit) = unit(rest) else {
        return if rest.is_char_boundary(end) { plain } else { (1, "\\".into()) };
    };
    match unit {
        0xd800..=0xdbff => match self::unit(&rest[6..]) {
            Some(0xdc00..=0xdfff) => (12, rest[..12].into()),
            _ => (6, "\\ufffd".into()),
        },
        0xdc00..=0xdfff => (6, "\\ufffd".into()),
        _ => (6, rest[..6].into()),
    }
}

/// The code unit that `\uXXXX` at the beginning of `rest` stands for.
fn unit(rest: &str) -> Option<u16> {
    let digits = rest.strip_prefix("\\u")?.get(..4)?;
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// The next piece outside strings: a number, or a character.
fn other_piece(rest: &str, first: char) -> (usize, Cow<'_, str>) {
    if !(first.is_ascii_digit() || first == '-') {
        return (first.len_utf8(), rest[..first.len_utf8()].into());
    }
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
    match rest[..end].parse::<f64>() {
        Ok(number) if number == f64::INFINITY => (end, "1e308".into()),
        Ok(number) if number == f64::NEG_INFINITY => (end, "-1e308".into()),
        _ => (end, rest[..end].into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_senders_get_wrong_is_mended() {
        fn check(json: &str, expected: Option<&str>) {
            assert_eq!(mend(json).as_deref(), expected, "{json:?}");
        }
        check("{\"a\": \"b\nc\td\"}\n", Some("{\"a\": \"b c d\"}\n"));
        check(r#"["\ud800"]"#, Some(r#"["\ufffd"]"#));
        check(r#"["\udc00\ud800x"]"#, Some(r#"["\ufffd\ufffdx"]"#));
        check(r#"["\ud83d\ude00"]"#, None);
        check(r#"["\\ud800", "\"\u00fc"]"#, None);
        check("[1e400, -1e400, 1e3]", Some("[1e308, -1e308, 1e3]"));
        check(r#"["1e400"]"#, None);
        check("", None);
        check("\"", None);
        check("\"\\", None);
        check("\"\\ü", None);
        check("\"\\ud800", Some("\"\\ufffd"));
    }

    proptest! {
        #[test]
        fn what_is_mended_needs_no_mending(json in "[\\x00-\\x1f{}\\[\\]:,\"\\\\ud8c0ü0-9.e+-]{0,40}") {
            if let Some(mended) = mend(&json) {
                prop_assert_eq!(mend(&mended), None);
            }
        }
    }
}
