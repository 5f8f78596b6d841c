//! What a change changed, in a few words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// Parts of a change that are shown; `-o json` has them all.
const MAX_PARTS: usize = 6;
/// What matters most comes first, and after that the alphabet.
const FIRST: [&str; 5] = ["mode", "state", "role", "name", "kind"];
/// Letters of a value that are shown.
const MAX_LETTERS: usize = 40;

/// `mode: testing → enforce, mx: + b.example`. Absent values are null.
pub(super) fn between(before: &Value, after: &Value) -> String {
    let mut parts: Vec<String> = match (before, after) {
        (Value::Null, Value::Null) => Vec::new(),
        (Value::Null, after) => fields(after).iter().map(alone).collect(),
        (before, Value::Null) => fields(before).iter().map(alone).collect(),
        (before, after) => {
            let (before, after) = (fields(before), fields(after));
            let names: std::collections::BTreeSet<&String> =
                before.keys().chain(after.keys()).collect();
            let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
            differ.map(|name| differs(name, before.get(name), after.get(name))).collect()
        }
    };
    let place = |part: &String| {
        let name = part.split_once(": ").map_or("", |(name, _)| name);
        FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len())
    };
    parts.sort_by_key(place);
    let more = parts.len().saturating_sub(MAX_PARTS);
    let shown = parts.into_iter().take(MAX_PARTS).collect::<Vec<_>>().join(", ");
    let shown = match more {
        0 => shown,
        more => format!("{shown}, {more} more"),
    };
    match (before, after) {
        (_, Value::Null) if !shown.is_empty() => format!("was {shown}"),
        _ => shown,
    }
}

/// The fields of a value by their path; those with nothing in them are left out.
fn fields(value: &Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    collect("", value, &mut fields);
    fields
}

fn collect(path: &str, value: &Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, fields);
            }
        }
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        value => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

fn alone((name, value): (&String, &Value)) -> String {
    named(name, &shown(value))
}

fn differs(name: &str, before: Option<&Value>, after: Option<&Value>) -> String {
    if let (Some(Value::Array(before)), Some(Value::Array(after))) = (before, after) {
        let gone = before.iter().filter(|item| !after.contains(item)).map(|it| ("-", it));
        let new = after.iter().filter(|item| !before.contains(item)).map(|it| ("+", it));
        let items: Vec<_> =
            gone.chain(new).map(|(sign, it)| format!("{sign} {}", shown(it))).collect();
        return match items.is_empty() {
            true => named(name, "in another order"),
            false => named(name, &shortened(&items.join(" "))),
        };
    }
    let side = |value: Option<&Value>| value.map_or_else(|| "-".to_owned(), shown);
    named(name, &format!("{} → {}", side(before), side(after)))
}

fn named(name: &str, text: &str) -> String {
    if name.is_empty() { text.to_owned() } else { format!("{name}: {text}") }
}

fn shown(value: &Value) -> String {
    let text = match value {
        // To the minute: JSON has the rest.
        Value::String(text) => match text.parse::<Timestamp>() {
            Ok(at) => format!("{} UTC", at.strftime("%Y-%m-%d %H:%M")),
            Err(_) => text.clone(),
        },
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        // Numbers of a `google.protobuf.Value` are doubles.
        Value::Number(number) => match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 => format!("{whole:.0}"),
            _ => number.to_string(),
        },
        value => value.to_string(),
    };
    shortened(&text)
}

fn shortened(text: &str) -> String {
    match text.chars().count() > MAX_LETTERS {
        true => format!("{}…", text.chars().take(MAX_LETTERS - 1).collect::<String>()),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_in_a_few_words() {
        for (before, after, told) in [
            (
                json!({"mode": "testing", "revision": 1.0}),
                json!({"mode": "enforce", "revision": 2.0}),
                "mode: testing → enforce, revision: 1 → 2",
            ),
            (json!({"mx": ["a", "b"]}), json!({"mx": ["b", "c"]}), "mx: - a + c"),
            (json!({"mx": ["a", "b"]}), json!({"mx": ["b", "a"]}), "mx: in another order"),
            (Value::Null, json!({"kind": "standard", "name": ""}), "kind: standard"),
            (json!({"kind": "standard"}), Value::Null, "was kind: standard"),
            (
                json!({"hosting": {"region": "eu-1"}}),
                json!({"hosting": {}}),
                "hosting.region: eu-1 → -",
            ),
            (json!("on"), json!("off"), "on → off"),
            (json!({"a": 1}), json!({"a": 1}), ""),
            (Value::Null, Value::Null, ""),
            (
                Value::Null,
                json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": true, "g": 1, "role": "x"}),
                "role: x, a: 1, b: 2, c: 3, d: 4, e: 5, 2 more",
            ),
        ] {
            assert_eq!(between(&before, &after), told);
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let told = between(&Value::Null, &json!({"body": "ä".repeat(1000)}));
        assert_eq!(told.chars().count(), "body: ".len() + MAX_LETTERS);
    }
}
