//! What is sent to exhaust us does not: each input here is answered within two seconds and the
//! whole list within 256 MiB, and the answer says what was wrong.
//!
//! One test, so that nothing else runs in the process whose memory is measured.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of a test, which says how long each input took"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use tls_rpt::limits::{MAX_DETAILS, MAX_LINES_IN_ALL, MAX_MAIL_BYTES, MAX_MEMBERS};
use tls_rpt::{
    Extracted, LeftOut, Oddity, PolicyOutcome, Reason, ReportError, from_body, from_mail,
};

/// An optimised build takes a tenth of this.
const LONGEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });

/// How much of the sizes that fill 32 MiB: an optimised build does all of it.
const PART: usize = if cfg!(debug_assertions) { 4 } else { 1 };

/// The peak of the whole process, its generated inputs included.
const MOST_MEMORY_KIB: u64 = 256 * 1024;

const RANGE: &str = r#""date-range":{"start-datetime":1770076800,"end-datetime":1770163199}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    gzip_as(Compression::fast(), bytes)
}

fn gzip_as(level: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gzip file that unpacks to so many MiB of blanks. Its checksum is wrong: nobody gets there.
fn packed_blanks(mib: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(64 << 10);
    let mut deflate = Compress::new(Compression::best(), false);
    deflate.compress_vec(&vec![b' '; 1 << 20], &mut block, FlushCompress::Full).unwrap();
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice();
    let empty_last_block = b"\x01\0\0\xff\xff".as_slice();
    [header, &block.repeat(mib), empty_last_block, b"checksum"].concat()
}

fn attached(body: &[u8]) -> Vec<u8> {
    let header =
        b"Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: binary\r\n\r\n";
    [header, body].concat()
}

fn multipart(part: &str, count: usize) -> Vec<u8> {
    let mut mail = String::from("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for _ in 0..count {
        write!(mail, "--b\r\n{part}\r\n").unwrap();
    }
    mail.push_str("--b--\r\n");
    mail.into_bytes()
}

/// Reads the input, and says how long it took.
fn timed(name: &str, read: impl FnOnce() -> Extracted) -> Extracted {
    let started = Instant::now();
    let extracted = read();
    let took = started.elapsed();
    println!("{name}: {took:?}, peak {} KiB", peak_memory_kib());
    assert!(took < LONGEST, "{name} took {took:?}");
    extracted
}

fn check_mail(name: &str, mail: &[u8], reason: &Reason) {
    let extracted = timed(name, || from_mail(mail));
    let found = extracted.problems.iter().any(|problem| problem.reason == *reason);
    assert!(extracted.reports.is_empty() && found, "{name}: {:?}", extracted.problems);
}

fn check_body(name: &str, body: &[u8], reason: &Reason) {
    check_mail(name, &attached(body), reason);
    let extracted = timed(name, || from_body(body));
    let found = extracted.problems.iter().any(|problem| problem.reason == *reason);
    assert!(extracted.reports.is_empty() && found, "{name}: {:?}", extracted.problems);
}

fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn bombs_and_junk_are_answered_in_time_and_memory() {
    gzip_bombs();
    big_reports();
    deep_json();
    mime_floods();
    let peak = peak_memory_kib();
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
}

fn gzip_bombs() {
    let huge = packed_blanks(9_000);
    assert!(huge.len() < 10 << 20);
    check_body("9 GB in 9 MB", &huge, &Reason::UnpackedTooLong);
    let twice = gzip_as(Compression::best(), &huge);
    assert!(twice.len() < 64 << 10);
    check_body("9 GB in some KB", &twice, &Reason::Bomb);
    check_body("20 MiB in 20 KB", &packed_blanks(20), &Reason::Bomb);
    let members = gzip(&[b' '; 10_000]).repeat(20_000);
    check_body("20,000 members", &members, &Reason::TooManyMembers);
    let members = gzip_as(Compression::best(), &vec![b' '; 1 << 20]).repeat(MAX_MEMBERS);
    check_body("64 members of 1 MiB", &members, &Reason::Bomb);
    let padded = [gzip(b"{}"), vec![0; 9 << 20]].concat();
    check_body("padding", &padded, &ReportError::NotAReport.into());

    let part = "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let bomb = base64(&packed_blanks(4));
    let mail = multipart(&format!("{part}{bomb}"), 100);
    check_mail("100 bombs in one mail", &mail, &Reason::Bomb);
    let part = "Content-Transfer-Encoding: base64\r\n\r\nQUJD";
    check_mail("small base64 parts", &multipart(part, 100_000), &Reason::TooManyParts);
}

fn big_reports() {
    let mut noise = Noise(1);
    let policies = list(1_000_000 / PART, || format!("{{\"a\":{}}}", noise.next(100_000)));
    let json = format!("{{{RANGE},\"policies\":[{policies}]}}");
    check_body("many policies", &gzip(json.as_bytes()), &ReportError::TooManyPolicies.into());

    let mut detail =
        || format!("{{\"result-type\":\"{}\",\"failed-session-count\":1}}", noise.next(100_000));
    let json = with_details(&list(600_000 / PART, &mut detail));
    let packed = gzip(json.as_bytes());
    drop(json);
    let extracted = timed("many details", || from_body(&packed));
    let found = &extracted.reports[0];
    assert_eq!(found.report.policies[0].failures.len(), MAX_DETAILS);
    let beyond = (600_000 / PART - MAX_DETAILS) as u64;
    assert_eq!(found.left_out, LeftOut { details: beyond, sessions: beyond });
    drop(extracted);

    // The bounds hold for all reports of a mail together.
    let json = with_details(&list(30_000 / PART, &mut detail));
    let packed = gzip(json.repeat(20).as_bytes());
    let extracted = timed("20 reports of many details", || from_body(&packed));
    assert_eq!(extracted.reports.len(), 20);
    let outcomes = extracted.reports.iter().flat_map(|found| &found.report.policies);
    assert_eq!(outcomes.map(|outcome| outcome.failures.len()).sum::<usize>(), MAX_DETAILS);
    drop(extracted);

    // Of small texts each costs more memory than it had bytes.
    let mut hosts = || list(300, || format!("\"{}\"", noise.next(1_000)));
    let policies = list(5_000 / PART, || {
        format!("{{\"policy\":{{\"mx-host\":[{}],\"policy-string\":[{}]}}}}", hosts(), hosts())
    });
    let json = format!("{{{RANGE},\"policies\":[{policies}]}}");
    drop(policies);
    let packed = gzip(json.as_bytes());
    drop(json);
    let extracted = timed("policies of 600 lines", || from_body(&packed));
    let found = &extracted.reports[0];
    assert!(found.oddities.contains(Oddity::ListCut));
    let lines = |of: &PolicyOutcome| of.policy.lines.len() + of.policy.mx_hosts.len();
    assert_eq!(found.report.policies.iter().map(lines).sum::<usize>(), MAX_LINES_IN_ALL);
    drop(extracted);

    let halves = (0..1_000_000 / PART).map(|_| format!("\\ud8{:02x}", noise.next(256)));
    let broken = format!("{{{RANGE},\"x\":\"{}", halves.collect::<String>());
    check_body("much to mend", &gzip(broken.as_bytes()), &ReportError::CutShort.into());

    let objects = list(2_000_000 / PART, || format!("{{\"a\":[{}]}}", noise.next(1_000)));
    let json = format!("{{{RANGE},\"policies\":[],\"x\":[{objects}]}}");
    drop(objects);
    let packed = gzip(json.as_bytes());
    let extracted = timed("unknown objects", || from_body(&packed));
    assert_eq!(extracted.reports.len(), 1);
}

fn with_details(details: &str) -> String {
    format!("{{{RANGE},\"policies\":[{{\"failure-details\":[{details}]}}]}}")
}

fn list(count: usize, mut item: impl FnMut() -> String) -> String {
    let mut list = item();
    for _ in 1..count {
        list.push(',');
        list.push_str(&item());
    }
    list
}

/// Numbers that gzip finds no pattern in, so that a big report does not look like a bomb.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn deep_json() {
    let too_deep = Reason::from(ReportError::TooDeep);
    for opening in ["[", "{\"a\":", "{\"policies\":[", "{\"policies\":[{\"policy\":"] {
        let deep = format!("{{\"x\":{}", opening.repeat(10_000));
        check_body("10,000 levels", deep.as_bytes(), &too_deep);
        let deep = opening.repeat(1_000_000);
        let packed = gzip(deep.as_bytes());
        let extracted = timed("1,000,000 levels", || from_body(&packed));
        assert!(!extracted.problems.is_empty());
    }
}

fn mime_floods() {
    let mut mail = b"Subject: long\r\n\r\n".to_vec();
    mail.resize(50 << 20, b'x');
    check_mail("50 MB", &mail, &Reason::MailTooLong);
    mail.truncate(MAX_MAIL_BYTES);
    check_mail("25 MB", &mail, &Reason::NoReport);
    drop(mail);

    check_mail("100,000 parts", &multipart("\r\n", 100_000), &Reason::TooManyParts);
    // A parser that looks for each of these boundaries to the end of the mail never comes back.
    let part = "Content-Type: multipart/mixed; boundary=missing\r\n\r\nx";
    check_mail("100,000 boundaries", &multipart(part, 100_000), &Reason::TooManyParts);

    let mut nested = String::new();
    for level in 0..10_000 {
        write!(nested, "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n")
            .unwrap();
    }
    nested.push_str(&"x\r\n".repeat(7_000_000 / PART));
    check_mail("10,000 nested multiparts", nested.as_bytes(), &Reason::TooDeep);
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(500_000);
    check_mail("500,000 nested mails", nested.as_bytes(), &Reason::TooDeep);

    let mut header = "X-Field: value\r\n".repeat(1_000_000);
    header.push_str("\r\nbody");
    check_mail("1,000,000 fields", header.as_bytes(), &Reason::NoReport);
    let folded = format!("Subject: {}\r\n\r\nbody", "=?utf-8?q?a?=\r\n ".repeat(200_000));
    check_mail("200,000 encoded words", folded.as_bytes(), &Reason::NoReport);
    let mut parameters = String::from("Content-Type: multipart/mixed; boundary=x");
    for at in 0..50_000 {
        write!(parameters, ";\r\n name*{at}=a; a*='b'c").unwrap();
    }
    check_mail("50,000 parameters", format!("{parameters}\r\n\r\n").as_bytes(), &Reason::NoReport);
    let comments = format!("Content-Type: text/plain {}\r\n\r\n", "(".repeat(10_000_000));
    check_mail("10,000,000 comments", comments.as_bytes(), &Reason::NoReport);
    let hyphens = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b-\r\n--".repeat(2_000_000)
    );
    check_mail("hyphens", hyphens.as_bytes(), &Reason::NoReport);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit =
        |word: u32, place: u32| char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]);
    let words = bytes.chunks(3).map(|chunk| {
        [0, 1, 2].iter().fold(0, |word, at| word << 8 | u32::from(*chunk.get(*at).unwrap_or(&0)))
    });
    words.flat_map(|word| (0..4).map(move |place| digit(word, place))).collect()
}
