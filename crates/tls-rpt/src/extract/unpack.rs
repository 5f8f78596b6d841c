//! From the bytes of a body to the text of a report: gzip off, UTF-8 on, whatever the label says.

use std::io::{ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::Reason;
use super::mime::from_base64;
use crate::limits::{MAX_LAYERS, MAX_MEMBERS, MAX_RATIO, RATIO_FREE_BYTES};
use crate::oddity::{Oddities, Oddity};

/// What bytes are, by how they begin. Labels are not asked: gzip has been seen under each of them,
/// and each of them over something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Json,
    Utf16,
    Zip,
    Xml,
    /// Gzip or JSON in base64 whose header field was lost.
    Base64,
    Other,
}

const BOM: &[u8] = b"\xef\xbb\xbf";
const GZIP: &[u8] = b"\x1f\x8b";

impl Format {
    pub(super) fn of(bytes: &[u8]) -> Format {
        match bytes {
            [0x1f, 0x8b, ..] => return Format::Gzip,
            [b'P', b'K', 3, 4, ..] => return Format::Zip,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..] => {
                return Format::Utf16;
            }
            _ => {}
        }
        let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
        match text {
            [b'{', ..] => Format::Json,
            [b'<', ..] => Format::Xml,
            // Of the gzip header the first three bytes are always the same, of JSON the first two
            // mostly: `{"`, `{ `, `{` and the end of a line.
            [b'H', b'4', b's', b'I', ..] => Format::Base64,
            [b'e', b'y' | b'w', b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9', ..]
                if text.iter().take(60).all(|byte| is_base64(*byte)) =>
            {
                Format::Base64
            }
            _ => Format::Other,
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte)
}

/// The text in `bytes`, and what was unusual about how it was packed. `left` is how many unpacked
/// bytes this mail may still have.
pub(super) fn unpack(
    bytes: Vec<u8>,
    left: &mut usize,
    oddities: &mut Oddities,
) -> Result<String, Reason> {
    let mut bytes = bytes;
    let mut cut_short = false;
    let mut layers = 0;
    loop {
        match Format::of(&bytes) {
            Format::Gzip if layers == MAX_LAYERS => return Err(Reason::TooManyLayers),
            Format::Gzip => {
                layers += 1;
                let (unpacked, is_cut) = gunzip(&bytes, left, oddities)?;
                cut_short |= is_cut;
                bytes = unpacked;
                if layers == 2 {
                    oddities.insert(Oddity::PackedTwice);
                }
            }
            Format::Base64 if layers == 0 => {
                oddities.insert(Oddity::Mislabelled);
                bytes = from_base64(&bytes);
                if Format::of(&bytes) == Format::Base64 {
                    return Err(Reason::NotAReport);
                }
            }
            Format::Json | Format::Utf16 => break,
            Format::Zip => return Err(Reason::Zip),
            Format::Xml => return Err(Reason::Xml),
            // Nothing came out, so there is nothing to be recognised.
            Format::Base64 | Format::Other if cut_short => return Err(Reason::CutShort),
            Format::Base64 | Format::Other => return Err(Reason::NotAReport),
        }
    }
    if layers == 0 {
        *left = left.checked_sub(bytes.len()).ok_or(Reason::UnpackedTooLong)?;
    }
    if cut_short {
        oddities.insert(Oddity::PackedCutShort);
    }
    Ok(to_text(bytes, oddities))
}

/// Unpacks a gzip file; also says whether it ended early. Whatever comes of it, what was unpacked
/// is taken off `left`: a hundred parts with a damaged end each cost no more than one.
fn gunzip(
    packed: &[u8],
    left: &mut usize,
    oddities: &mut Oddities,
) -> Result<(Vec<u8>, bool), Reason> {
    let by_ratio = packed.len().saturating_mul(MAX_RATIO).max(RATIO_FREE_BYTES);
    let most = by_ratio.min(*left);
    let too_much = if most == by_ratio { Reason::Bomb } else { Reason::UnpackedTooLong };
    let mut bytes = Vec::with_capacity(size_hint(packed).min(most) + 1);
    let unpacked = members(packed, &mut bytes, most, oddities);
    *left = left.saturating_sub(bytes.len());
    let cut_short = unpacked.map_err(|stop| stop.unwrap_or(too_much))?;
    Ok((bytes, cut_short))
}

/// Unpacks all members, or as many as there are before something else follows, and says whether
/// the last one ended early. The error is `None` where more than `most` bytes came out.
fn members(
    packed: &[u8],
    bytes: &mut Vec<u8>,
    most: usize,
    oddities: &mut Oddities,
) -> Result<bool, Option<Reason>> {
    let mut rest = packed;
    for member in 0..MAX_MEMBERS {
        if member == 1 {
            oddities.insert(Oddity::SeveralMembers);
        }
        let mut decoder = GzDecoder::new(rest);
        // One more than allowed, to see whether there is more.
        let room = most + 1 - bytes.len();
        let read = decoder.by_ref().take(room as u64).read_to_end(bytes);
        if bytes.len() > most {
            return Err(None);
        }
        match read {
            Ok(_) => rest = decoder.into_inner(),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(true),
            Err(_) => return Err(Some(Reason::Damaged)),
        }
        if !rest.starts_with(GZIP) {
            // Zeros are padding, to the size of a block.
            if rest.iter().any(|byte| !byte.is_ascii_whitespace() && *byte != 0) {
                oddities.insert(Oddity::TrailingBytes);
            }
            return Ok(false);
        }
    }
    Err(Some(Reason::TooManyMembers))
}

/// What the last four bytes of a gzip file say of its size: right for one member without anything
/// behind it ([RFC 1952 section 2.3.1](https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1)), and
/// anything otherwise, so it is believed up to a size at which it does not matter.
fn size_hint(packed: &[u8]) -> usize {
    const BELIEVED: usize = 64 * 1024;
    let size = packed.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    usize::try_from(size).unwrap_or(BELIEVED).min(BELIEVED)
}

/// Reads UTF-8 with or without a byte order mark, UTF-16 with or without one, and anything else as
/// UTF-8 with errors.
fn to_text(mut bytes: Vec<u8>, oddities: &mut Oddities) -> String {
    if Format::of(&bytes) == Format::Utf16 {
        oddities.insert(Oddity::Utf16);
        return from_utf16(&bytes);
    }
    if bytes.starts_with(BOM) {
        oddities.insert(Oddity::ByteOrderMark);
        bytes.drain(..BOM.len());
    }
    String::from_utf8(bytes).unwrap_or_else(|error| {
        oddities.insert(Oddity::NotUtf8);
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}

fn from_utf16(bytes: &[u8]) -> String {
    let big_endian = matches!(bytes, [0xfe, 0xff, ..] | [0, _, ..]);
    let units = bytes.as_chunks().0.iter().map(|pair: &[u8; 2]| {
        if big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }
    });
    let text: String =
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// Whether a part that is not labelled as a report is worth a look: what a report may begin with.
pub(super) fn may_be_report(bytes: &[u8]) -> bool {
    matches!(Format::of(bytes), Format::Gzip | Format::Json | Format::Utf16 | Format::Base64)
}

#[cfg(test)]
mod tests;
