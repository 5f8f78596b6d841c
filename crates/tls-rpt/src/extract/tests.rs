use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const JSON: &str = r#"{"organization-name": "Sender", "report-id": "q", "date-range":
 {"start-datetime": "2026-02-03T00:00:00Z", "end-datetime": "2026-02-03T23:59:59Z"},
 "policies": [{"policy": {"policy-type": "sts", "policy-domain": "alpha.example"},
 "summary": {"total-successful-session-count": 11, "total-failure-session-count": 4}}]}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Base64 in lines, as a part of a mail has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, chunk) in bytes.chunks(3).enumerate() {
        let [a, b, c] = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let word = a << 16 | b << 8 | c;
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
        if at % 19 == 18 {
            text.push_str("\r\n");
        }
    }
    text
}

const HEADER: &str = "From: tlsrpt@sender.example\r\n\
    Subject: Report Domain: alpha.example Submitter: sender.example Report-ID: <q@sender.example>\r\n\
    TLS-Report-Domain: alpha.example\r\n\
    TLS-Report-Submitter: sender.example\r\n\
    MIME-Version: 1.0\r\n";

/// A mail as RFC 8460 section 5.3 has it, with this second part.
fn mail(part: &str) -> String {
    format!(
        "{HEADER}Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"b1\"\r\n\r\n\
         --b1\r\nContent-Type: text/plain\r\n\r\nThis is an aggregate TLS report.\r\n\
         --b1\r\n{part}\r\n--b1--\r\n"
    )
}

fn packed_part() -> String {
    let body = base64(&gzip(JSON.as_bytes()));
    format!(
        "Content-Type: application/tlsrpt+gzip\r\n\
         Content-Disposition: attachment;\r\n filename=\"sender.example!alpha.example!1!2.json.gz\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{body}"
    )
}

/// One report with the sums of [`JSON`], with nothing else to say but these oddities.
#[track_caller]
fn check_one(extracted: &Extracted, oddities: &[Oddity]) {
    assert_eq!(extracted.problems, []);
    let [found] = extracted.reports.as_slice() else {
        panic!("{} reports", extracted.reports.len());
    };
    let sums = found.report.sums();
    assert_eq!((sums.sts.successful, sums.sts.failed), (11, 4));
    assert_eq!(found.oddities.iter().collect::<Vec<_>>(), oddities);
    assert_eq!(found.content(), identity::without_space(JSON));
}

#[track_caller]
fn check_problem(extracted: &Extracted, reason: Reason) {
    assert_eq!(extracted.reports, []);
    let reasons: Vec<_> = extracted.problems.iter().map(|problem| &problem.reason).collect();
    assert_eq!(reasons, [&reason]);
}

#[test]
fn a_mail_by_the_book_holds_its_report() {
    let extracted = from_mail(mail(&packed_part()).as_bytes());
    check_one(&extracted, &[]);
    let found = &extracted.reports[0];
    let stated = Stated {
        domain: Some("alpha.example".to_owned()),
        submitter: Some("sender.example".to_owned()),
    };
    assert_eq!((&found.stated, &extracted.stated), (&stated, &stated));
    assert_eq!(found.file_name.as_deref(), Some("sender.example!alpha.example!1!2.json.gz"));
    assert_eq!(found.json, JSON);
    assert!(!found.forwarded);
}

#[test]
fn labels_do_not_matter() {
    let packed = base64(&gzip(JSON.as_bytes()));
    let plain = base64(JSON.as_bytes());
    let check = |header: &str, body: &str, oddities: &[Oddity]| {
        let mail = mail(&format!("{header}\r\n\r\n{body}"));
        check_one(&from_mail(mail.as_bytes()), oddities);
        // With lines that end in LF alone, as mails have on disk.
        let mail = mail.replace("\r\n", "\n");
        check_one(&from_mail(mail.as_bytes()), oddities);
    };
    let b64 = "Content-Transfer-Encoding: base64";
    let wrong = &[Oddity::Mislabelled];

    check(
        &format!("Content-Type: application/octet-stream; name=a!b!1!2.json.gz\r\n{b64}"),
        &packed,
        &[],
    );
    check(&format!("Content-Type: application/octet-stream\r\n{b64}"), &packed, &[]);
    check(&format!("Content-Type: application/gzip\r\n{b64}"), &packed, &[]);
    check(
        &format!("Content-Type: application/x-gzip; name*0=a!b!1!2.js;\r\n\tname*1=on.gz\r\n{b64}"),
        &packed,
        &[],
    );
    check(&format!("content-type: Application/TLSRPT+GZIP\r\n{b64}"), &packed, &[]);
    check(&format!("Content-Disposition: attachment; filename=r.json.gz\r\n{b64}"), &packed, &[]);
    check(b64, &packed, &[]);
    check("Content-Type: application/tlsrpt+json", JSON, &[]);
    check("Content-Type: application/tlsrpt", JSON, &[]);
    check("Content-Type: application/json", JSON, &[]);
    check("Content-Type: text/plain", JSON, &[]);
    check("X: y", JSON, &[]);
    check(&format!("Content-Type: application/json\r\n{b64}"), &plain, &[]);
    // The label says one thing and the bytes another.
    check(&format!("Content-Type: application/tlsrpt+json\r\n{b64}"), &packed, wrong);
    check(&format!("Content-Type: text/plain; name=r.json\r\n{b64}"), &packed, wrong);
    check(&format!("Content-Type: application/tlsrpt+gzip\r\n{b64}"), &plain, wrong);
    // The encoding's field was lost on the way.
    check("Content-Type: application/tlsrpt", &packed, wrong);
    check("Content-Type: application/tlsrpt", &plain, wrong);
}

#[test]
fn transfer_encodings_are_undone_in_spite_of_junk() {
    let quoted = JSON.replace('=', "=3D").replace("\"policies\"", "\"pol=\r\nicies=22");
    let part = "Content-Type: application/tlsrpt+json\r\nContent-Transfer-Encoding:";
    check_one(
        &from_mail(mail(&format!("{part} quoted-printable\r\n\r\n{quoted}")).as_bytes()),
        &[],
    );
    for encoding in ["7bit", "8bit", "binary", "x-unknown"] {
        check_one(&from_mail(mail(&format!("{part} {encoding}\r\n\r\n{JSON}")).as_bytes()), &[]);
    }

    let packed = base64(&gzip(JSON.as_bytes()));
    let part = "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let junk = packed.replace("\r\n", " \u{fffd}-_\r\n\r\n\t");
    check_one(&from_mail(mail(&format!("{part}{junk}")).as_bytes()), &[]);
    // A mailing list appends its footer to the encoded text.
    let footer = format!("{packed}\r\n____________\r\nto unsubscribe go away");
    let extracted = from_mail(mail(&format!("{part}{footer}")).as_bytes());
    check_one(&extracted, &[Oddity::TrailingBytes]);
}

#[test]
fn a_mail_may_be_built_in_other_ways() {
    // No MIME at all.
    check_one(&from_mail(format!("{HEADER}\r\n{JSON}").as_bytes()), &[]);
    // The report is the mail.
    check_one(&from_mail(format!("{HEADER}{}", packed_part()).as_bytes()), &[]);
    // The closing boundary is missing.
    check_one(&from_mail(mail(&packed_part()).replace("--b1--", "").as_bytes()), &[]);
    // The boundary is missing in the header.
    check_one(&from_mail(mail(&packed_part()).replace("; boundary=\"b1\"", "").as_bytes()), &[]);
    // A wrong report-type, or none, or no multipart/report.
    check_one(&from_mail(mail(&packed_part()).replace("\"tlsrpt\"", "dsn").as_bytes()), &[]);
    check_one(&from_mail(mail(&packed_part()).replace("/report", "/mixed").as_bytes()), &[]);
    // Microsoft sends HTML first.
    let html = mail(&packed_part()).replace("text/plain", "text/html");
    check_one(&from_mail(html.as_bytes()), &[]);
    // A separator of a mailbox file before the header.
    check_one(&from_mail(format!("From x\r\n{}", mail(&packed_part())).as_bytes()), &[]);
    // A list puts its footer around the mail.
    let listed = format!(
        "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\
         Content-Type: multipart/report; boundary=i\r\n\r\n--i\r\n{}\r\n--i--\r\n--o\r\n\r\nfooter\r\n--o--",
        packed_part()
    );
    check_one(&from_mail(listed.as_bytes()), &[]);
}

#[test]
fn a_report_that_was_passed_on_is_found_and_marked() {
    let inner = mail(&packed_part());
    let outer = format!(
        "Subject: Fwd: report\r\nTLS-Report-Submitter: forged.example\r\n\
         Content-Type: multipart/mixed; boundary=o\r\n\r\n\
         --o\r\n\r\nsee below\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--o--"
    );
    let extracted = from_mail(outer.as_bytes());
    check_one(&extracted, &[]);
    let found = &extracted.reports[0];
    assert!(found.forwarded);
    assert_eq!(found.stated.submitter.as_deref(), Some("sender.example"));
    assert_eq!(extracted.stated.submitter.as_deref(), Some("forged.example"));

    let encoded = format!(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
        base64(inner.as_bytes())
    );
    let extracted = from_mail(encoded.as_bytes());
    check_one(&extracted, &[]);
    assert!(extracted.reports[0].forwarded);
}

#[test]
fn what_the_mail_states_fills_in_for_what_the_report_leaves_out() {
    fn check(header: &str, name: &str, expected: (Option<&str>, Option<&str>)) {
        let json = JSON.replace(", \"policy-domain\": \"alpha.example\"", "");
        let mail = format!("{header}Content-Type: application/json; name=\"{name}\"\r\n\r\n{json}");
        let extracted = from_mail(mail.as_bytes());
        let found = &extracted.reports[0];
        assert_eq!(found.domain_of(&found.report.policies[0]), expected.0, "{header}");
        assert_eq!(found.stated.submitter.as_deref(), expected.1, "{header}");
        assert!(found.oddities.contains(Oddity::NoPolicyDomain));
    }
    let all = (Some("a.example"), Some("s.example"));
    check("TLS-Report-Domain: A.example.\r\nTLS-Report-Submitter: s.example\r\n", "r.json", all);
    check("tls-report-domain:\r\n a.example\r\nSubject: submitter: s.example\r\n", "r.json", all);
    // Folded before the id, as Microsoft has it; in encoded words, as gateways do.
    check(
        "Subject: Report Domain: a.example Submitter: s.example\r\n Report-ID: <1>\r\n",
        "r.json",
        all,
    );
    check("Subject: Report Domain: a.example\r\n    Submitter: s.example\r\n", "r.json", all);
    check("Subject: =?utf-8?q?Report_Domain:_a.example_Submitter:_s.example?=\r\n", "r.json", all);
    check("Subject: hello\r\n", "s.example!a.example!1!2!3.json", all);
    check("TLS-Report-Domain: a.example\r\n", "s.example!other.example!1!2.json", all);
    check("TLS-Report-Domain: <script>\r\nSubject: Report Domain:\r\n", "r.json", (None, None));
    check("", "a!b.json", (None, None));
}

#[test]
fn the_reports_own_domain_is_right_where_the_mail_states_another() {
    let mail = mail(&packed_part()).replace("alpha", "beta");
    let extracted = from_mail(mail.as_bytes());
    let found = &extracted.reports[0];
    assert_eq!(found.domain_of(&found.report.policies[0]), Some("alpha.example"));
}

#[test]
fn several_reports_in_one_mail_are_all_found() {
    let three = mail(&format!("{0}\r\n--b1\r\n{0}\r\n--b1\r\n{0}", packed_part()));
    assert_eq!(from_mail(three.as_bytes()).reports.len(), 3);

    let one_after_the_other = format!("{JSON}\r\n{JSON}");
    let extracted = from_body(&gzip(one_after_the_other.as_bytes()));
    assert_eq!((extracted.reports.len(), extracted.problems.len()), (2, 0));
    assert_eq!(extracted.reports[0].content(), extracted.reports[1].content());

    let with_footer = format!("{JSON}\r\n-- \r\nfooter");
    check_one(&from_body(with_footer.as_bytes()), &[Oddity::TrailingBytes]);

    let many = JSON.repeat(MAX_REPORTS + 1);
    let extracted = from_body(many.as_bytes());
    assert_eq!(extracted.reports.len(), MAX_REPORTS);
    assert_eq!(extracted.problems[0].reason, Reason::TooManyReports);
}

#[test]
fn one_bad_part_does_not_hide_a_good_one() {
    let bad = "Content-Type: application/tlsrpt+gzip; name=bad.json.gz\r\n\r\nunused";
    let extracted = from_mail(mail(&format!("{bad}\r\n--b1\r\n{}", packed_part())).as_bytes());
    assert_eq!(extracted.reports.len(), 1);
    let problem = Problem { file_name: Some("bad.json.gz".to_owned()), reason: Reason::NotAReport };
    assert_eq!(extracted.problems, [problem]);
}

#[test]
fn bodies_and_files_are_taken_as_they_are() {
    let packed = gzip(JSON.as_bytes());
    let mail = mail(&packed_part());
    let with_mark = [b"\xef\xbb\xbf", JSON.as_bytes()].concat();
    let encoded = base64(&packed);
    for from in [from_body, from_any] {
        check_one(&from(JSON.as_bytes()), &[]);
        check_one(&from(&packed), &[]);
        check_one(&from(&with_mark), &[Oddity::ByteOrderMark]);
        check_one(&from(encoded.as_bytes()), &[Oddity::Mislabelled]);
    }
    check_one(&from_any(mail.as_bytes()), &[]);
    check_problem(&from_any(b"PK\x03\x04"), Reason::Zip);
    check_problem(&from_any(b""), Reason::NoReport);
    check_problem(&from_body(b""), Reason::NotAReport);
    check_problem(&from_body(mail.as_bytes()), Reason::NotAReport);
}

#[test]
fn what_cannot_be_read_has_a_reason() {
    let check = |body: &[u8], reason: Reason| {
        let part = format!(
            "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
            base64(body)
        );
        check_problem(&from_mail(mail(&part).as_bytes()), reason.clone());
        check_problem(&from_body(body), reason);
    };
    let packed = gzip(JSON.as_bytes());
    let cut = JSON.len() - 30;
    check(b"unused", Reason::NotAReport);
    check(b"PK\x03\x04", Reason::Zip);
    check(b"<?xml version=\"1.0\"?><feedback/>", Reason::Xml);
    check(&gzip(b"<?xml version=\"1.0\"?><feedback/>"), Reason::Xml);
    check(&packed[..packed.len() / 2], Reason::CutShort);
    check(&gzip(&JSON.as_bytes()[..cut]), ReportError::CutShort.into());
    check(&gzip(b"{\"a\": 1}"), ReportError::NotAReport.into());
    check(&gzip(&[b'{'; 9]), ReportError::NotJson { line: 1, column: 2 }.into());
    let negative = JSON.replace(": 11,", ": -11,");
    let bad =
        ReportError::BadCount { field: "total-successful-session-count", found: "-11".to_owned() };
    check(negative.as_bytes(), bad.into());
}

#[test]
fn a_mail_without_a_report_says_so() {
    let check = |mail: &str| check_problem(&from_mail(mail.as_bytes()), Reason::NoReport);
    check("");
    check("From: a@x.example\r\n\r\nhello");
    check(&mail("Content-Type: text/plain\r\n\r\nno report here"));
    check(&mail("Content-Type: text/plain\r\n\r\n{ not JSON either"));
    check(&mail("Content-Type: text/plain\r\n\r\n{\"alert\": [\"not ours\"]}"));
    check(&mail("Content-Type: text/plain\r\n\r\neyJhbGciOiJIUzI1NiJ9"));
    check(&mail("Content-Type: text/html\r\n\r\n<p>hello</p>"));
    check(&mail("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K"));
}

#[test]
fn the_same_report_has_the_same_content_however_it_came() {
    let with_lf = JSON.replace("\r\n", "\n");
    let with_crlf = with_lf.replace('\n', "\r\n");
    let contents = [
        from_body(with_lf.as_bytes()),
        from_body(with_crlf.as_bytes()),
        from_body(&gzip(with_lf.as_bytes())),
        from_mail(format!("\r\n{with_crlf}\r\n").as_bytes()),
    ]
    .map(|extracted| extracted.reports[0].content());
    assert!(contents.iter().all(|content| *content == contents[0]));
    let other = JSON.replace("\"q\"", "\"q \"");
    assert_ne!(from_body(other.as_bytes()).reports[0].content(), contents[0]);
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for extracted in [from_mail(&bytes), from_body(&bytes), from_any(&bytes)] {
            prop_assert!(!extracted.reports.is_empty() || !extracted.problems.is_empty());
        }
    }

    #[test]
    fn any_damage_to_a_mail_is_survived(at in any::<prop::sample::Index>(), bytes in "[ -~\\r\\n]{0,6}") {
        let mut mail = mail(&packed_part()).into_bytes();
        let at = at.index(mail.len());
        let end = (at + 3).min(mail.len());
        mail.splice(at..end, bytes.bytes());
        let extracted = from_mail(&mail);
        prop_assert!(!extracted.reports.is_empty() || !extracted.problems.is_empty());
    }

    #[test]
    fn any_damage_to_gzip_is_survived(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut packed = gzip(JSON.as_bytes());
        let at = at.index(packed.len());
        packed[at] = byte;
        let extracted = from_body(&packed);
        prop_assert!(!extracted.reports.is_empty() || !extracted.problems.is_empty());
    }
}
