//! Which writing systems a label is in, as far as a warning needs to know.

/// Whether `label` holds letters of scripts that are not written together.
///
/// Japanese, Chinese and Korean mix theirs, also with Latin; all others stand alone.
pub(super) fn is_mixed(label: &str) -> bool {
    let mut seen = Vec::new();
    for script in label.chars().filter_map(script) {
        if !seen.contains(&script) {
            seen.push(script);
        }
    }
    seen.len() > 1 && !TOGETHER.iter().any(|group| seen.iter().all(|s| group.contains(s)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Armenian,
    Hebrew,
    Arabic,
    Indic,
    Thai,
    Georgian,
    Cherokee,
    Han,
    Kana,
    Bopomofo,
    Hangul,
    Other,
}

/// The combinations of [UTS #39](https://www.unicode.org/reports/tr39/#Restriction_Level_Detection),
/// level 'highly restrictive'.
const TOGETHER: [&[Script]; 3] = [
    &[Script::Latin, Script::Han, Script::Kana],
    &[Script::Latin, Script::Han, Script::Bopomofo],
    &[Script::Latin, Script::Han, Script::Hangul],
];

/// `None` for digits, hyphens and marks, which go with every script.
fn script(c: char) -> Option<Script> {
    let script = match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Script::Latin,
        '\u{250}'..='\u{2af}' | '\u{a720}'..='\u{a7ff}' | '\u{ab30}'..='\u{ab64}' => Script::Latin,
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Script::Greek,
        '\u{400}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{a640}'..='\u{a69f}' => {
            Script::Cyrillic
        }
        '\u{531}'..='\u{58f}' => Script::Armenian,
        '\u{591}'..='\u{5ff}' => Script::Hebrew,
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{8a0}'..='\u{8ff}' => Script::Arabic,
        '\u{900}'..='\u{dff}' => Script::Indic,
        '\u{e00}'..='\u{e7f}' => Script::Thai,
        '\u{10a0}'..='\u{10ff}' => Script::Georgian,
        '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' => Script::Cherokee,
        '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => Script::Han,
        '\u{20000}'..='\u{323af}' => Script::Han,
        '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => Script::Kana,
        '\u{3105}'..='\u{312f}' => Script::Bopomofo,
        '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => Script::Hangul,
        other if other.is_alphabetic() => Script::Other,
        _ => return None,
    };
    Some(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_are_not_written_together_are_noticed() {
        fn check(label: &str, expected: bool) {
            assert_eq!(is_mixed(label), expected, "{label}");
        }
        check("example-123", false);
        check("müller", false);
        check("пример", false);
        check("日本語ドメイン", false);
        check("ソニーtv", false);
        check("中文news", false);
        check("한국어", false);
        check("pаypal", true); // the first a is Cyrillic
        check("gοοgle", true); // each o is Greek
        check("россияx", true);
        check("ドмейн", true);
    }
}
