//! How many reports a second one core reads, from the raw mail to the typed report.
//!
//! ```sh
//! cargo bench -p tls-rpt
//! ```
//!
//! The anchor is what one would write in an afternoon: `mail-parser` for the mail, `flate2` for the
//! attachment, `serde_json::Value` for the JSON, and sums out of that. Both read the same generated
//! mails (about 2 KB of JSON each, three policies, five details), and find the same sums. Rounds
//! alternate, so that a busy machine disturbs both; the median counts. It fails below [`TARGET`].

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints what it found")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Instant;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};

/// Our reports a second, as a multiple of the anchor's.
const TARGET: f64 = 1.3;

const MAILS: u64 = 1_000;
const ROUNDS: usize = 31;

fn main() {
    let mails: Vec<Vec<u8>> = (0..MAILS).map(mail).collect();
    let bytes: usize = mails.iter().map(Vec::len).sum();
    println!("{MAILS} mails, {} bytes each", bytes / mails.len());

    let mut ours = Vec::new();
    let mut anchor = Vec::new();
    for _ in 0..ROUNDS {
        let (our_sum, rate) = measure(&mails, read_ours);
        ours.push(rate);
        let (anchor_sum, rate) = measure(&mails, read_anchor);
        anchor.push(rate);
        assert_eq!(our_sum, anchor_sum);
    }
    let [ours, anchor] = [ours, anchor].map(median);
    println!("tls-rpt                     {ours:>8.0} reports a second");
    println!("mail-parser, untyped JSON   {anchor:>8.0} reports a second");
    println!("ratio {:.2}, at least {TARGET} wanted", ours / anchor);
    assert!(ours / anchor >= TARGET, "slower than it was");
}

fn measure(mails: &[Vec<u8>], read: fn(&[u8]) -> u64) -> (u64, f64) {
    let started = Instant::now();
    let sum = mails.iter().map(|mail| read(black_box(mail))).sum();
    (sum, mails.len() as f64 / started.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Successful and failed sessions of all types, and those of the details.
fn read_ours(mail: &[u8]) -> u64 {
    let extracted = tls_rpt::from_mail(mail);
    let report = &extracted.reports[0].report;
    let details = report.policies.iter().flat_map(|outcome| &outcome.failures);
    let sums = report.sums();
    let sessions = [sums.sts, sums.tlsa, sums.no_policy_found, sums.other];
    sessions.iter().map(|sum| sum.successful + sum.failed).sum::<u64>()
        + details.map(|failure| failure.sessions).sum::<u64>()
}

fn read_anchor(mail: &[u8]) -> u64 {
    let message = MessageParser::default().parse(mail).unwrap();
    let part = message.attachments().next().unwrap();
    assert!(part.content_type().is_some());
    let mut json = Vec::new();
    MultiGzDecoder::new(part.contents()).read_to_end(&mut json).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    let count = |of: &Value, name: &str| of[name].as_u64().unwrap();
    let mut sum = 0;
    for policy in report["policies"].as_array().unwrap() {
        let summary = &policy["summary"];
        sum += count(summary, "total-successful-session-count");
        sum += count(summary, "total-failure-session-count");
        for detail in policy["failure-details"].as_array().into_iter().flatten() {
            sum += count(detail, "failed-session-count");
        }
    }
    sum
}

fn mail(number: u64) -> Vec<u8> {
    let domain = format!("customer-{number}.example");
    let file = format!("sender.example!{domain}!1770076800!1770163199!{number}.json.gz");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(report(number, &domain).to_string().as_bytes()).unwrap();
    let body = in_lines(&base64(&gzip.finish().unwrap()));
    let signature = in_lines(&"A1b2C3d4".repeat(43)).replace("\r\n", "\r\n\t");
    format!(
        "Return-Path: <bounce-{number}@sender.example>\r\n\
         Received: from out.sender.example (out.sender.example [192.0.2.7])\r\n\
         \tby mx.in.example (Postfix) with ESMTPS id {number}\r\n\
         \tfor <tls+{number}@in.example>; Wed, 4 Feb 2026 03:00:00 +0000 (UTC)\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=sender.example; s=2026;\r\n\
         \th=to:from:subject:message-id:tls-report-submitter:tls-report-domain:date:mime-version;\r\n\
         \tbh=gsPf9A3IGu2JoZfyy6qZbx7K1b7ZsXWxS+vA5zvLj6w=;\r\n\tb={signature}\r\n\
         Date: Wed, 4 Feb 2026 03:00:00 +0000\r\n\
         TLS-Report-Domain: {domain}\r\n\
         TLS-Report-Submitter: sender.example\r\n\
         Message-ID: <{number}@sender.example>\r\n\
         Subject: Report Domain: {domain} Submitter: sender.example Report-ID: <{number}@sender.example>\r\n\
         From: noreply@sender.example\r\n\
         To: tls+{number}@in.example\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; boundary=\"0000000000007877ce062148fba9\"; report-type=tlsrpt\r\n\
         \r\n\
         --0000000000007877ce062148fba9\r\n\
         Content-Type: text/plain; charset=\"UTF-8\"; format=flowed; delsp=yes\r\n\
         \r\n\
         This is an aggregate TLS report from sender.example\r\n\
         \r\n\
         --0000000000007877ce062148fba9\r\n\
         Content-Type: application/tlsrpt+gzip; \r\n\tname=\"{file}\"\r\n\
         Content-Disposition: attachment; \r\n\tfilename=\"{file}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\
         \r\n\
         {body}\r\n\
         --0000000000007877ce062148fba9--\r\n"
    )
    .into_bytes()
}

fn report(number: u64, domain: &str) -> Value {
    let detail = |result: &str, at: u64| {
        json!({
            "result-type": result,
            "sending-mta-ip": format!("192.0.2.{at}"),
            "receiving-mx-hostname": format!("mx{at}.{domain}"),
            "receiving-ip": format!("198.51.100.{}", number % 250),
            "failed-session-count": at + number % 7,
            "failure-reason-code": "X509_V_ERR_CERT_HAS_EXPIRED",
        })
    };
    let policy = |kind: &str, lines: Value, details: Value| {
        json!({
            "policy": {
                "policy-type": kind,
                "policy-string": lines,
                "policy-domain": domain,
                "mx-host": [format!("mx1.{domain}"), format!("*.{domain}")],
            },
            "summary": {
                "total-successful-session-count": 5_000 + number,
                "total-failure-session-count": number % 7,
            },
            "failure-details": details,
        })
    };
    let sts = |mode: &str| {
        json!([
            "version: STSv1",
            format!("mode: {mode}"),
            format!("mx: *.{domain}"),
            "max_age: 604800"
        ])
    };
    let first = json!([detail("certificate-expired", 1), detail("starttls-not-supported", 2)]);
    let second = json!([detail("certificate-host-mismatch", 3), detail("validation-failure", 4)]);
    json!({
        "organization-name": "Sender Example Inc.",
        "date-range": {
            "start-datetime": "2026-02-03T00:00:00Z",
            "end-datetime": "2026-02-03T23:59:59Z",
        },
        "contact-info": "tls-reporting@sender.example",
        "report-id": format!("2026-02-03T00:00:00Z_{domain}"),
        "policies": [
            policy("sts", sts("testing"), first),
            policy("sts", sts("enforce"), second),
            policy("no-policy-found", json!([]), json!([detail("certificate-not-trusted", 5)])),
        ],
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

fn in_lines(text: &str) -> String {
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
    lines.join("\r\n")
}
