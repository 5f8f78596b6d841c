//! What others wrote, as people can read it and a database keeps it.

/// What is shown of what was found, in bytes.
pub(crate) const MAX_FOUND_BYTES: usize = 1000;

/// Text as it is; what is no UTF-8, or would not be seen, escaped. NUL, which PostgreSQL refuses,
/// and what moves a terminal's cursor or turns the direction of writing is among it. Escaping twice
/// changes nothing.
pub(crate) fn readable(value: &[u8]) -> String {
    let mut text = String::new();
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\'' | '\\' => text.push(c),
                hidden => text.extend(hidden.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A sentence or a list that repeats what others wrote: readable, and at most
/// [`MAX_FOUND_BYTES`].
pub(crate) fn plain(text: &str) -> String {
    const MORE: &str = "…";
    let text = readable(text.as_bytes());
    if text.len() <= MAX_FOUND_BYTES {
        return text;
    }
    let end = text.floor_char_boundary(MAX_FOUND_BYTES - MORE.len());
    format!("{}{MORE}", text.get(..end).unwrap_or_default())
}
