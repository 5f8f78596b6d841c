use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What comes out, and what was noted, with room for a thousand bytes.
fn unpacked(bytes: &[u8]) -> Result<(String, Vec<Oddity>), Reason> {
    let mut oddities = Oddities::default();
    let text = unpack(bytes.to_vec(), &mut 1_000, &mut oddities)?;
    Ok((text, oddities.iter().collect()))
}

#[test]
fn bytes_are_recognised_by_their_beginning() {
    fn check(bytes: &[u8], expected: Format) {
        assert_eq!(Format::of(bytes), expected, "{}", bytes.escape_ascii());
    }
    check(b"\x1f\x8b\x08", Format::Gzip);
    check(b" \r\n{\"a\": 1}", Format::Json);
    check(b"\xef\xbb\xbf{", Format::Json);
    check(b"\xff\xfe{\0", Format::Utf16);
    check(b"\xfe\xff\0{", Format::Utf16);
    check(b"{\0\"\0", Format::Utf16);
    check(b"\0{\0\"", Format::Utf16);
    check(b"PK\x03\x04", Format::Zip);
    check(b"<?xml version=", Format::Xml);
    check(b"\n<!doctype html>", Format::Xml);
    check(b"H4sIAAAAAAAC/w==", Format::Base64);
    check(b"eyJvcmdhbml6YXRpb24", Format::Base64);
    check(b"eyebrows are raised", Format::Other);
    check(b"[1]", Format::Other);
    check(b"From: a@x.example", Format::Other);
    check(b"unused", Format::Other);
    check(b"", Format::Other);
}

#[test]
fn what_is_packed_oddly_is_unpacked() {
    fn check(bytes: &[u8], expected: &str, oddities: &[Oddity]) {
        let expected = Ok((expected.to_owned(), oddities.to_vec()));
        assert_eq!(unpacked(bytes), expected, "{}", bytes.escape_ascii());
    }
    let json = "{\"a\": \"ü\"}";
    let packed = gzip(json.as_bytes());
    let (first, second) = json.as_bytes().split_at(5);
    let utf16 =
        |order: fn(u16) -> [u8; 2]| json.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));

    check(json.as_bytes(), json, &[]);
    check(&packed, json, &[]);
    check(&gzip(&packed), json, &[Oddity::PackedTwice]);
    check(&[gzip(first), gzip(second)].concat(), json, &[Oddity::SeveralMembers]);
    check(&[&packed, [0; 100].as_slice()].concat(), json, &[]);
    check(&[&packed, b"-- \r\nlist footer".as_slice()].concat(), json, &[Oddity::TrailingBytes]);
    check(&packed[..packed.len() - 8], json, &[Oddity::PackedCutShort]);
    check(&[BOM, json.as_bytes()].concat(), json, &[Oddity::ByteOrderMark]);
    check(&little, json, &[Oddity::Utf16]);
    check(&big, json, &[Oddity::Utf16]);
    check(&[b"\xff\xfe", little.as_slice()].concat(), json, &[Oddity::Utf16]);
    check(&[b"\xfe\xff", big.as_slice()].concat(), json, &[Oddity::Utf16]);
    check(&gzip(&[b"\xff\xfe", little.as_slice()].concat()), json, &[Oddity::Utf16]);
    check(b"{\"a\": \"\xfc\"}", "{\"a\": \"\u{fffd}\"}", &[Oddity::NotUtf8]);
    check(b"eyJhIjoxfQ==", "{\"a\":1}", &[Oddity::Mislabelled]);
}

#[test]
fn what_cannot_be_unpacked_has_a_reason() {
    fn check(bytes: &[u8], expected: Reason) {
        assert_eq!(unpacked(bytes), Err(expected), "{}", bytes.escape_ascii());
    }
    let packed = gzip(b"{\"a\": 1}");
    let mut wrong_checksum = packed.clone();
    wrong_checksum[packed.len() - 8] ^= 1;
    let mut wrong_inside = packed.clone();
    wrong_inside[10] = 0xff;

    check(b"unused", Reason::NotAReport);
    check(b"", Reason::NotAReport);
    check(b"PK\x03\x04rest", Reason::Zip);
    check(&gzip(b"PK\x03\x04rest"), Reason::Zip);
    check(b"<feedback/>", Reason::Xml);
    check(&gzip(b"<feedback/>"), Reason::Xml);
    check(&gzip(b""), Reason::NotAReport);
    check(&wrong_checksum, Reason::Damaged);
    check(&wrong_inside, Reason::Damaged);
    check(&packed[..9], Reason::CutShort);
    check(&gzip(&gzip(&packed)), Reason::TooManyLayers);
    check(&gzip(b"{}").repeat(MAX_MEMBERS + 1), Reason::TooManyMembers);
    check(&gzip(&[b' '; 1_001]), Reason::UnpackedTooLong);
    check(&[b"{", [b' '; 1_000].as_slice()].concat(), Reason::UnpackedTooLong);
}

#[test]
fn unpacking_stops_at_the_ratio_past_a_megabyte() {
    let mut left = 100 << 20;
    let small = gzip(&vec![b' '; RATIO_FREE_BYTES - 1]);
    assert!(small.len() * MAX_RATIO < RATIO_FREE_BYTES);
    let unpacked =
        |bytes: &[u8], left: &mut usize| unpack(bytes.to_vec(), left, &mut Oddities::default());
    assert_eq!(unpacked(&small, &mut left), Err(Reason::NotAReport));
    assert_eq!(left, (100 << 20) - (RATIO_FREE_BYTES - 1));

    let bomb = gzip(&vec![b' '; 50 << 20]);
    assert_eq!(unpacked(&bomb, &mut left), Err(Reason::Bomb));
    assert!(left > 80 << 20, "unpacking was stopped early");
}

#[test]
fn what_was_unpacked_in_vain_is_counted() {
    let mut damaged = gzip(&[b' '; 600]);
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let mut left = 1_000;
    let mut unpacked = || unpack(damaged.clone(), &mut left, &mut Oddities::default());
    assert_eq!(unpacked(), Err(Reason::Damaged));
    assert_eq!(unpacked(), Err(Reason::UnpackedTooLong));
    assert_eq!(unpacked(), Err(Reason::UnpackedTooLong));
}
