//! Texts from strangers, made fit to be stored and shown.

use crate::limits::MAX_TEXT_BYTES;
use crate::oddity::{Oddities, Oddity};

/// A text without the space around it; none where nothing is left. Empty stands for absent, which
/// is how some senders write it.
///
/// What would move a cursor, end a line or turn the direction of writing becomes a space:
/// senders put whole SMTP answers in one field, and databases refuse NUL.
pub(crate) fn clean(text: &str, oddities: &mut Oddities) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let plain = |byte: u8| (0x20..0x7f).contains(&byte);
    if text.len() <= MAX_TEXT_BYTES && text.bytes().all(plain) {
        return Some(text.to_owned());
    }
    let whole = text.floor_char_boundary(MAX_TEXT_BYTES);
    if whole < text.len() {
        oddities.insert(Oddity::TextCut);
    }
    let kept: String = text[..whole].chars().map(|c| if is_unfit(c) { ' ' } else { c }).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        // Separators of lines and paragraphs.
        || matches!(c, '\u{2028}' | '\u{2029}')
        // Marks, overrides and isolates of direction.
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A domain name as names are compared: in lower case, without a dot at its end.
///
/// It is not checked: it may be an address, a U-label or nonsense, and matches nothing then.
pub(crate) fn domain(text: &str, oddities: &mut Oddities) -> Option<String> {
    let mut name = clean(text, oddities)?;
    if name.ends_with('.') {
        name.pop();
    }
    name.make_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_fit_to_be_shown() {
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(clean(text, &mut Oddities::default()).as_deref(), expected, "{text:?}");
        }
        check("Company-X", Some("Company-X"));
        check("  Company-X\n", Some("Company-X"));
        check("", None);
        check(" \t ", None);
        check("\0", None);
        check("Bücher <b>&amp;</b>", Some("Bücher <b>&amp;</b>"));
        check("250-mx.example\r\n250 HELP", Some("250-mx.example  250 HELP"));
        check("a\0b\u{1b}[31mc\u{85}d", Some("a b [31mc d"));
        check("moc\u{202e}.elgoog", Some("moc .elgoog"));
        check("=cmd|'/c calc'!A1", Some("=cmd|'/c calc'!A1"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut oddities = Oddities::default();
        let cut = clean(&"ü".repeat(MAX_TEXT_BYTES), &mut oddities).unwrap();
        assert_eq!(cut, "ü".repeat(MAX_TEXT_BYTES / 2));
        assert!(oddities.contains(Oddity::TextCut));

        let mut oddities = Oddities::default();
        assert_eq!(
            clean(&"a".repeat(MAX_TEXT_BYTES), &mut oddities).unwrap().len(),
            MAX_TEXT_BYTES
        );
        assert!(oddities.is_empty());
    }

    #[test]
    fn a_domain_is_in_lower_case_without_its_dot() {
        let mut oddities = Oddities::default();
        assert_eq!(domain(" Example.COM.\n", &mut oddities).as_deref(), Some("example.com"));
        assert_eq!(domain(".", &mut oddities), None);
    }
}
