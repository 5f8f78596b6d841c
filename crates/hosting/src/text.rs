//! How outside text and instants appear in our sentences.

use jiff::Timestamp;

/// How many characters of a foreign text a message repeats: enough to recognise it, too few to
/// flood a log or a terminal.
const ECHO_CHARS: usize = 80;

/// `text` as a message may repeat it: control, direction and invisible characters escaped, and cut.
pub(crate) fn echo(text: &str) -> String {
    // Each character gives at least one, so this much is certainly enough.
    let start: String = text.chars().take(ECHO_CHARS + 1).collect();
    let escaped: String = start.chars().flat_map(escape).collect();
    if escaped.chars().count() <= ECHO_CHARS {
        return escaped;
    }
    escaped.chars().take(ECHO_CHARS).chain(['…']).collect()
}

/// An instant in a sentence: UTC, to the minute.
pub(crate) fn when(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// How many values a sentence lists: all readiness checks there are, and few enough that a refusal
/// with its details fits into the headers that gRPC carries it in.
const LISTED: usize = 20;

/// Values in a row, for people and for metadata alike: `a, b, c`. A long row ends in `and 7 more`.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut texts: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = texts.len().saturating_sub(LISTED);
    if more > 0 {
        texts.truncate(LISTED);
        texts.push(format!("and {more} more"));
    }
    texts.join(", ")
}

/// `1 report`, `3 reports`.
pub(crate) fn count(number: impl Into<u64>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        many => format!("{many} {noun}s"),
    }
}

/// Quotes stay as they are: these texts stand in sentences, not in source code.
fn escape(c: char) -> impl Iterator<Item = char> {
    let plain = matches!(c, '"' | '\'');
    plain.then_some(c).into_iter().chain((!plain).then(|| c.escape_debug()).into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_says_how_many_more() {
        assert_eq!(list(["a", "b"]), "a, b");
        let long = list(0..22);
        assert!(long.ends_with("18, 19, and 2 more"), "{long}");
    }

    #[test]
    fn an_echo_is_short_and_shows_what_hides() {
        fn check(text: &str, expected: &str) {
            assert_eq!(echo(text), expected);
        }
        check("example.com", "example.com");
        check("müller's", "müller's");
        check("a\r\nb\0\u{1b}[31m", r"a\r\nb\0\u{1b}[31m");
        check("a\u{202e}b\u{200d}c\u{feff}", r"a\u{202e}b\u{200d}c\u{feff}");
        check(&"x".repeat(80), &"x".repeat(80));
        check(&"x".repeat(9_999), &format!("{}…", "x".repeat(80)));
        assert!(echo(&"\u{202e}".repeat(80)).chars().count() <= ECHO_CHARS + 1);
    }
}
