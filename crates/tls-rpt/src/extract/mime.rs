//! The parts of a mail, within bounds.
//!
//! `mail-parser` reads a whole mail at once, without bounds in the version that we can build: it
//! looks for each missing boundary up to the end of the mail, so that a mail of 100,000 parts with
//! a boundary each keeps it busy for minutes, and a mail nested 10,000 deep overflows the stack when
//! it is let go. So the mail is cut into parts here, which is the simple half, and `mail-parser`
//! reads what is intricate: the fields with their folding, comments, continuations and encoded words.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use memchr::memchr;
use memchr::memmem::Finder;

use crate::limits::MAX_FIELD_BYTES;

/// Splits an entity into its header fields and its body.
pub(super) fn split(entity: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(length) = line_length(&entity[at..]) {
        let line = &entity[at..at + length];
        if matches!(line, b"\n" | b"\r\n") {
            return (&entity[..at], &entity[at + length..]);
        }
        at += length;
    }
    (entity, b"")
}

/// How long the first line is, its end included; `None` if there is none.
fn line_length(text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    Some(memchr(b'\n', text).map_or(text.len(), |at| at + 1))
}

/// The fields of one entity that we read, raw, without their names. Of several with one name the
/// first counts.
#[derive(Default)]
pub(super) struct Fields<'m> {
    pub(super) content_type: Option<&'m [u8]>,
    pub(super) encoding: Option<&'m [u8]>,
    pub(super) disposition: Option<&'m [u8]>,
    pub(super) subject: Option<&'m [u8]>,
    pub(super) domain: Option<&'m [u8]>,
    pub(super) submitter: Option<&'m [u8]>,
}

impl<'m> Fields<'m> {
    /// Looks through `header` once, however many fields it has.
    pub(super) fn of(header: &'m [u8]) -> Fields<'m> {
        let mut fields = Fields::default();
        let mut at = 0;
        while let Some(field) = field_at(header, at) {
            at += field.len();
            let Some(colon) = memchr(b':', field) else { continue };
            let (name, value) = (field[..colon].trim_ascii(), &field[colon + 1..]);
            let slot = match name.first().map(u8::to_ascii_lowercase) {
                Some(b'c') if is(name, "content-type") => &mut fields.content_type,
                Some(b'c') if is(name, "content-transfer-encoding") => &mut fields.encoding,
                Some(b'c') if is(name, "content-disposition") => &mut fields.disposition,
                Some(b's') if is(name, "subject") => &mut fields.subject,
                Some(b't') if is(name, "tls-report-domain") => &mut fields.domain,
                Some(b't') if is(name, "tls-report-submitter") => &mut fields.submitter,
                _ => continue,
            };
            slot.get_or_insert(&value[..value.len().min(MAX_FIELD_BYTES)]);
        }
        fields
    }
}

/// The field that begins at `at`, with the lines that continue it.
fn field_at(header: &[u8], at: usize) -> Option<&[u8]> {
    let mut length = line_length(&header[at..])?;
    while matches!(header.get(at + length), Some(b' ' | b'\t')) {
        length += line_length(&header[at + length..])?;
    }
    Some(&header[at..at + length])
}

fn is(name: &[u8], expected: &str) -> bool {
    name.eq_ignore_ascii_case(expected.as_bytes())
}

/// What a part says it is.
pub(super) struct Media {
    kind: String,
    subtype: String,
    pub(super) boundary: Option<String>,
    /// The file's name, wherever it stands.
    pub(super) name: Option<String>,
}

impl Media {
    pub(super) fn of(fields: &Fields<'_>) -> Media {
        let content = fields.content_type.map(with_line_end);
        let content = content.as_deref().and_then(parameters);
        let disposition = fields.disposition.map(with_line_end);
        let disposition = disposition.as_deref().and_then(parameters);
        let attribute = |of: &Option<ContentType<'_>>, name| {
            of.as_ref().and_then(|of| of.attribute(name)).map(str::to_owned)
        };
        let name = attribute(&disposition, "filename").or_else(|| attribute(&content, "name"));
        Media {
            boundary: attribute(&content, "boundary"),
            name,
            kind: content.as_ref().map(|of| of.ctype().to_ascii_lowercase()).unwrap_or_default(),
            subtype: content
                .and_then(|of| of.subtype().map(str::to_ascii_lowercase))
                .unwrap_or_default(),
        }
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.kind == "multipart"
    }

    /// Whether the part is itself a mail.
    pub(super) fn is_mail(&self) -> bool {
        self.kind == "message" && matches!(self.subtype.as_str(), "rfc822" | "global")
    }

    /// Whether the label says that this is a TLS report: the type that RFC 8460 registers, one of
    /// its relatives, or a file that is named as one.
    pub(super) fn claims_report(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default().to_ascii_lowercase();
        self.subtype.starts_with("tlsrpt")
            || name.ends_with(".json")
            || name.ends_with(".json.gz")
            || name.contains('!') && (name.ends_with(".gz") || name.ends_with(".zip"))
    }

    /// Whether the label says gzip, or JSON; `None` if it says neither.
    pub(super) fn claims_gzip(&self) -> Option<bool> {
        let name = self.name.as_deref().unwrap_or_default();
        match self.subtype.as_str() {
            "tlsrpt+gzip" | "gzip" | "x-gzip" => Some(true),
            "tlsrpt+json" | "json" => Some(false),
            _ if name.ends_with(".gz") => Some(true),
            _ if name.ends_with(".json") => Some(false),
            _ => None,
        }
    }
}

/// A field's value and its parameters.
fn parameters(value: &[u8]) -> Option<ContentType<'_>> {
    match MessageStream::new(value).parse_content_type() {
        HeaderValue::ContentType(parsed) => Some(parsed),
        _ => None,
    }
}

/// A field's value as a text: unfolded, encoded words decoded.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let value = with_line_end(value);
    match MessageStream::new(&value).parse_unstructured() {
        HeaderValue::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}

/// The parser goes by the end of the line, which is gone where a field was cut or a mail ends.
fn with_line_end(value: &[u8]) -> Cow<'_, [u8]> {
    if value.ends_with(b"\n") { value.into() } else { [value, b"\n"].concat().into() }
}

/// Cuts the body of a multipart at its boundary. What stands before the first boundary and behind
/// the closing one is nobody's; where the closing one is missing the last part goes to the end.
///
/// Without a boundary in the header, the first line that looks like one is.
pub(super) fn parts<'m>(body: &'m [u8], boundary: Option<&str>) -> Parts<'m> {
    let boundary = boundary.map(str::as_bytes).filter(|boundary| !boundary.is_empty());
    let Some(boundary) = boundary.or_else(|| guess_boundary(body)) else {
        return Parts { rest: b"", delimiter: Finder::new(b"--").into_owned() };
    };
    let delimiter = Finder::new(&[b"--", boundary].concat()).into_owned();
    let mut parts = Parts { rest: body, delimiter };
    // What `next` finds first is the preamble.
    parts.next();
    parts
}

pub(super) struct Parts<'m> {
    rest: &'m [u8],
    /// The boundary behind its two hyphens.
    delimiter: Finder<'static>,
}

impl<'m> Iterator for Parts<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        let rest = self.rest;
        if rest.is_empty() {
            return None;
        }
        // It counts at the beginning of a line, and alone there.
        let begins_line = |at: &usize| at.checked_sub(1).is_none_or(|before| rest[before] == b'\n');
        for at in self.delimiter.find_iter(rest).filter(begins_line) {
            let behind = &rest[at + self.delimiter.needle().len()..];
            let (closes, behind) = match behind.strip_prefix(b"--") {
                Some(behind) => (true, behind),
                None => (false, behind),
            };
            let Some(behind) = behind_blank_line(behind) else { continue };
            self.rest = if closes { b"" } else { behind };
            // The end of the line before a boundary belongs to the boundary.
            let part = &rest[..at];
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            return Some(part.strip_suffix(b"\r").unwrap_or(part));
        }
        self.rest = b"";
        Some(rest)
    }
}

/// What follows the first line, if there is nothing in it.
fn behind_blank_line(text: &[u8]) -> Option<&[u8]> {
    let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
    let rest = &text[blank..];
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"\n") }
}

fn guess_boundary(body: &[u8]) -> Option<&[u8]> {
    /// Longest boundary (RFC 2046 section 5.1.1).
    const LONGEST: usize = 70;
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let boundary = lines.find_map(|line| line.strip_prefix(b"--"))?;
    (1..=LONGEST).contains(&boundary.len()).then_some(boundary)
}

/// Undoes a part's transfer encoding. What is not in the encoding is passed over (base64) or stays
/// as it is (quoted-printable); an encoding that nobody knows is none.
pub(super) fn decode<'m>(body: &'m [u8], encoding: Option<&[u8]>) -> Cow<'m, [u8]> {
    let encoding = encoding.unwrap_or_default().trim_ascii();
    if is(encoding, "base64") {
        from_base64(body).into()
    } else if is(encoding, "quoted-printable") {
        from_quoted_printable(body).into()
    } else {
        body.into()
    }
}

pub(super) fn from_base64(body: &[u8]) -> Vec<u8> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let pure = || body.iter().copied().filter(is_base64).collect::<Vec<u8>>();
    base64_decode(body).or_else(|| base64_decode(&pure())).unwrap_or_default()
}

fn from_quoted_printable(body: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((byte, behind)) = rest.split_first() {
        rest = match (byte, behind) {
            (b'=', [b'\n', behind @ ..] | [b'\r', b'\n', behind @ ..]) => behind,
            (b'=', [high, low, more @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    more
                }
                _ => {
                    decoded.push(b'=');
                    behind
                }
            },
            _ => {
                decoded.push(*byte);
                behind
            }
        };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    #[test]
    fn a_header_ends_at_the_first_empty_line() {
        fn check(entity: &str, header: &str, body: &str) {
            assert_eq!(
                split(entity.as_bytes()),
                (header.as_bytes(), body.as_bytes()),
                "{entity:?}"
            );
        }
        check("A: b\r\n\r\nbody", "A: b\r\n", "body");
        check("A: b\n\nbody\n\nmore", "A: b\n", "body\n\nmore");
        check("\nbody", "", "body");
        check("A: b\n", "A: b\n", "");
        check("A: b\n \n\nbody", "A: b\n \n", "body");
        check("", "", "");
    }

    #[test]
    fn the_first_field_of_a_name_is_read_with_its_continuation() {
        let header = b"From me\nSUBJECT : a\r\n b\r\nSubject: c\nno colon\nContent-Type:text/plain";
        let fields = Fields::of(header);
        assert_eq!(fields.subject.and_then(text).as_deref(), Some("a b"));
        assert_eq!(shown(fields.content_type.unwrap()), "text/plain");
        assert!(fields.domain.is_none());
    }

    #[test]
    fn a_file_name_is_read_however_it_is_written() {
        fn check(header: &str, expected: Option<&str>) {
            let media = Media::of(&Fields::of(header.as_bytes()));
            assert_eq!(media.name.as_deref(), expected, "{header:?}");
        }
        check("Content-Type: application/gzip; name=a.json.gz", Some("a.json.gz"));
        check(
            "Content-Disposition: attachment;\r\n\tfilename=\"a!b!1!2.json\"",
            Some("a!b!1!2.json"),
        );
        check("Content-Type: a/b; name*0=\"a.js\";\n name*1=\"on.gz\"", Some("a.json.gz"));
        check("Content-Type: a/b; name*=utf-8''a%2Ejson", Some("a.json"));
        check("Content-Type: a/b; name=\"=?utf-8?q?a=2Ejson?=\"", Some("a.json"));
        check("Content-Type: a/b", None);
    }

    #[test]
    fn a_multipart_is_cut_at_its_boundary_alone() {
        fn check(body: &str, boundary: Option<&str>, expected: &[&str]) {
            let parts: Vec<String> = parts(body.as_bytes(), boundary).map(shown).collect();
            assert_eq!(parts, expected, "{body:?}");
        }
        let b = Some("b");
        check("preamble\r\n--b\r\none\r\n--b\r\ntwo\r\n--b--\r\nepilogue", b, &["one", "two"]);
        check("--b\none\n--b--", b, &["one"]);
        check("--b \t\none\n\n--b\ntwo", b, &["one\\n", "two"]);
        check("--b\n--b\n--b--", b, &["", ""]);
        check("--b\none\n--b--c\n--b--\n", b, &["one\\n--b--c"]);
        check("--b\none\n--bb\n --b\n--b-\ntwo\n--b--", b, &["one\\n--bb\\n --b\\n--b-\\ntwo"]);
        check("no parts", b, &[]);
        check("", b, &[]);
        check("\n--guess\none\n--guess--", None, &["one"]);
        check("\n--guess\none\n--guess--", Some(""), &["one"]);
        check("nothing to guess", None, &[]);
    }

    #[test]
    fn an_encoding_is_undone_in_spite_of_what_does_not_belong() {
        fn check(body: &str, encoding: &str, expected: &str) {
            let decoded = decode(body.as_bytes(), Some(encoding.as_bytes()));
            assert_eq!(shown(&decoded), expected, "{body:?}");
        }
        check("eyJh\r\nIjox\nfQ==\r\n", " BASE64 \r\n", "{\\\"a\\\":1}");
        check("ey-Jh*Ijo!xfQ==\n", "base64", "{\\\"a\\\":1}");
        check("", "base64", "");
        check("{=22a=22:=\r\n1=\n}=3d=zz=", "quoted-printable", "{\\\"a\\\":1}==zz=");
        check("{=22", "8bit", "{=22");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (header, body) = split(&bytes);
            prop_assert!(header.len() + body.len() <= bytes.len());
            let fields = Fields::of(header);
            let media = Media::of(&fields);
            let _ = (media.is_multipart(), media.is_mail(), media.claims_report(), text(header));
            let total: usize = parts(body, Some("b")).map(<[u8]>::len).sum();
            prop_assert!(total <= body.len());
            for encoding in ["base64", "quoted-printable"] {
                prop_assert!(decode(&bytes, Some(encoding.as_bytes())).len() <= bytes.len());
            }
        }

        #[test]
        fn any_field_is_read(value in "[ -~\\t\\r\\n;=*'\"()\\\\/?]{0,120}") {
            let header = format!("Content-Type: {value}\nSubject: {value}");
            let fields = Fields::of(header.as_bytes());
            let _ = (Media::of(&fields).name, fields.subject.and_then(text));
        }
    }
}
