//! From a mail, a POST or a file to the reports in it.

use std::borrow::Cow;

use crate::identity;
use crate::limits::{
    MAX_LAYERS, MAX_MAIL_BYTES, MAX_MEMBERS, MAX_PACKED_BYTES, MAX_PART_LEVELS, MAX_PARTS,
    MAX_RATIO, MAX_REPORTS, MAX_UNPACKED_BYTES,
};
use crate::oddity::{Oddities, Oddity};
use crate::report::read::{self, Room};
use crate::report::{LeftOut, ParsedReport, PolicyOutcome, Report, ReportError};
use crate::text;

mod mime;
mod unpack;

use mime::{Fields, Media};
use unpack::{Format, may_be_report, unpack};

/// What was found, and what could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extracted {
    /// The reports, in the order of the mail.
    pub reports: Vec<Found>,
    /// What looked like a report and is none that could be counted; never empty where there is no
    /// report.
    pub problems: Vec<Problem>,
    /// What the mail itself states about the report in it.
    pub stated: Stated,
}

/// A report, and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub report: Report,
    /// What was unusual about it, its packing included.
    pub oddities: Oddities,
    /// What was too much to be kept.
    pub left_out: LeftOut,
    /// The JSON that it was read from, unpacked, as UTF-8.
    pub json: String,
    /// The attachment's name.
    pub file_name: Option<String>,
    /// What the mail states that the report is in, else its file name.
    pub stated: Stated,
    /// Whether it is in a mail attached to the mail: somebody passed it on, and whatever signature
    /// the outer mail has is not the reporter's.
    pub forwarded: bool,
}

impl Found {
    /// The domain that `outcome` is about: its own word, else what the mail states. Postfix's
    /// reports leave it out where no policy was found.
    pub fn domain_of<'f>(&'f self, outcome: &'f PolicyOutcome) -> Option<&'f str> {
        outcome.policy.domain.as_deref().or(self.stated.domain.as_deref())
    }

    /// The bytes that are the same wherever this report arrives: its JSON without the white space
    /// that means nothing, for one path keeps the ends of its lines and another does not.
    pub fn content(&self) -> Vec<u8> {
        identity::without_space(&self.json)
    }
}

/// What stands around a report: in the mail's `TLS-Report-Domain` and `TLS-Report-Submitter`
/// ([RFC 8460 section 5.3](https://www.rfc-editor.org/rfc/rfc8460#section-5.3)), else in its subject, else
/// in the file's name. Where it differs from the report, the report is right
/// ([section 5.6](https://www.rfc-editor.org/rfc/rfc8460#section-5.6)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stated {
    /// The domain that is reported on.
    pub domain: Option<String>,
    /// The domain of who reports.
    pub submitter: Option<String>,
}

impl Stated {
    /// `self`, and what is missing there from `other`.
    fn or(self, other: Stated) -> Stated {
        Stated {
            domain: self.domain.or(other.domain),
            submitter: self.submitter.or(other.submitter),
        }
    }

    fn in_fields(fields: &Fields<'_>) -> Stated {
        let field = |value: Option<&[u8]>| value.and_then(mime::text).and_then(|text| name(&text));
        let stated = Stated { domain: field(fields.domain), submitter: field(fields.submitter) };
        if stated.domain.is_some() && stated.submitter.is_some() {
            return stated;
        }
        let subject = fields.subject.and_then(mime::text).unwrap_or_default();
        stated.or(Stated::in_subject(&subject))
    }

    /// `Report Domain: example.net Submitter: mail.sender.example.com Report-ID: <735ff…>`.
    fn in_subject(subject: &str) -> Stated {
        let lower = subject.to_ascii_lowercase();
        let behind = |label: &str| {
            let (_, behind) = lower.split_once(label)?;
            name(behind.split_whitespace().next()?)
        };
        Stated { domain: behind("report domain:"), submitter: behind("submitter:") }
    }

    /// `submitter!domain!begin!end[!id].json.gz`
    /// ([RFC 8460 section 5.1](https://www.rfc-editor.org/rfc/rfc8460#section-5.1)).
    fn in_file_name(file_name: &str) -> Stated {
        let pieces: Vec<&str> = file_name.split('!').collect();
        match pieces[..] {
            [submitter, domain, _, _, ..] => {
                Stated { domain: name(domain), submitter: name(submitter) }
            }
            _ => Stated::default(),
        }
    }
}

/// A domain name, if it may be one.
fn name(text: &str) -> Option<String> {
    let name = text::domain(text, &mut Oddities::default())?;
    let may_stand = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    (name.contains('.') && name.chars().all(may_stand)).then_some(name)
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The attachment's name, where it has one.
    pub file_name: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The mail was not looked at.
    #[error("the mail is longer than {MAX_MAIL_BYTES} bytes")]
    MailTooLong,
    /// Parts beyond the bound were not looked at.
    #[error("the mail has more than {MAX_PARTS} parts")]
    TooManyParts,
    /// What is nested deeper was not looked at.
    #[error("the mail is nested deeper than {MAX_PART_LEVELS} levels")]
    TooDeep,
    /// Reports beyond the bound were not looked at.
    #[error("the mail has more than {MAX_REPORTS} reports")]
    TooManyReports,
    /// Nothing in the mail looks like a report.
    #[error("there is no TLS report in it")]
    NoReport,
    /// The body was not looked at.
    #[error("the attachment is longer than {MAX_PACKED_BYTES} bytes")]
    BodyTooLong,
    /// Labelled as a report, and neither gzip nor JSON.
    #[error("the attachment is neither gzip nor JSON")]
    NotAReport,
    /// A zip file. Reports are packed with gzip
    /// ([RFC 8460 section 5.2](https://www.rfc-editor.org/rfc/rfc8460#section-5.2)), and no sender is known that uses zip.
    #[error("the attachment is a zip file, and reports are packed with gzip")]
    Zip,
    /// XML or HTML: most likely a DMARC report that came to the wrong mailbox.
    #[error("the attachment is XML, as reports of DMARC are")]
    Xml,
    /// The gzip file contradicts itself or its checksum.
    #[error("the gzip file is damaged")]
    Damaged,
    /// The gzip file ends before the report does.
    #[error("the gzip file is cut short")]
    CutShort,
    /// Packed in itself.
    #[error("the attachment is packed more than {MAX_LAYERS} times")]
    TooManyLayers,
    /// Pieced together.
    #[error("the gzip file has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// Unpacking was stopped.
    #[error("the gzip file unpacks to more than {MAX_RATIO} times its size")]
    Bomb,
    /// Unpacking was stopped.
    #[error("the mail unpacks to more than {MAX_UNPACKED_BYTES} bytes")]
    UnpackedTooLong,
    /// It is unpacked, and no report.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// The reports in a raw mail.
///
/// Each part is looked at by its bytes, and labels only tell whether a part that cannot be read
/// is a problem: gzip comes as `application/octet-stream`, as `.json`, and the other way round.
pub fn from_mail(raw: &[u8]) -> Extracted {
    let mut walk = Walk::default();
    if raw.len() > MAX_MAIL_BYTES {
        walk.problem(None, Reason::MailTooLong);
    } else {
        walk.mail(raw, 0, false);
    }
    walk.finish()
}

/// The reports in the body of a POST, or in a file: gzip or JSON, whatever its label says.
pub fn from_body(bytes: &[u8]) -> Extracted {
    let mut walk = Walk::default();
    walk.body(bytes.into(), None, None, &Around::default());
    walk.finish()
}

/// The reports in a file that may be a mail or a body.
pub fn from_any(bytes: &[u8]) -> Extracted {
    match Format::of(bytes) {
        Format::Other => from_mail(bytes),
        _ => from_body(bytes),
    }
}

/// What is known about the mail that a part is in.
#[derive(Default)]
struct Around {
    stated: Stated,
    forwarded: bool,
}

/// One walk through one mail: what it found, and what it may still spend.
struct Walk {
    found: Extracted,
    room: Room,
    parts_left: usize,
    bytes_left: usize,
}

impl Default for Walk {
    fn default() -> Walk {
        Walk {
            found: Extracted::default(),
            room: Room::default(),
            parts_left: MAX_PARTS,
            bytes_left: MAX_UNPACKED_BYTES,
        }
    }
}

impl Walk {
    fn finish(mut self) -> Extracted {
        if self.found.reports.is_empty() && self.found.problems.is_empty() {
            self.problem(None, Reason::NoReport);
        }
        self.found
    }

    fn problem(&mut self, file_name: Option<String>, reason: Reason) {
        let problem = Problem { file_name, reason };
        if !self.found.problems.contains(&problem) {
            self.found.problems.push(problem);
        }
    }

    /// Looks at a mail, which may be attached to another.
    fn mail(&mut self, raw: &[u8], level: usize, forwarded: bool) {
        let (header, body) = mime::split(raw);
        let fields = Fields::of(header);
        let stated = Stated::in_fields(&fields);
        if level == 0 {
            self.found.stated = stated.clone();
        }
        self.entity(&fields, body, level, &Around { stated, forwarded });
    }

    /// Looks at a mail's body or a part, and at what is in it.
    fn entity(&mut self, fields: &Fields<'_>, body: &[u8], level: usize, around: &Around) {
        if level > MAX_PART_LEVELS {
            return self.problem(None, Reason::TooDeep);
        }
        let media = Media::of(fields);
        if media.is_multipart() {
            for part in mime::parts(body, media.boundary.as_deref()) {
                let Some(left) = self.parts_left.checked_sub(1) else {
                    return self.problem(None, Reason::TooManyParts);
                };
                self.parts_left = left;
                let (header, body) = mime::split(part);
                self.entity(&Fields::of(header), body, level + 1, around);
            }
        } else if media.is_mail() {
            self.mail(&mime::decode(body, fields.encoding), level + 1, true);
        } else {
            self.leaf(body, fields, &media, around);
        }
    }

    /// Looks at a part that holds no others.
    fn leaf(&mut self, body: &[u8], fields: &Fields<'_>, media: &Media, around: &Around) {
        // Base64 takes four bytes for three, and a line end or two in each 76.
        if body.len() > MAX_PACKED_BYTES / 2 * 3 {
            if media.claims_report() {
                self.problem(media.name.clone(), Reason::BodyTooLong);
            }
            return;
        }
        let bytes = mime::decode(body, fields.encoding);
        if media.claims_report() || may_be_report(&bytes) {
            self.body(bytes, media.name.clone(), Some(media), around);
        }
    }

    /// Reads the reports in a body.
    fn body(
        &mut self,
        bytes: Cow<'_, [u8]>,
        file_name: Option<String>,
        media: Option<&Media>,
        around: &Around,
    ) {
        let file_name = file_name.and_then(|name| text::clean(&name, &mut Oddities::default()));
        let mut oddities = Oddities::default();
        let is_gzip = Format::of(&bytes) == Format::Gzip;
        if media.and_then(Media::claims_gzip).is_some_and(|claimed| claimed != is_gzip) {
            oddities.insert(Oddity::Mislabelled);
        }
        let is_labelled = media.is_none_or(Media::claims_report);
        let unpacked = if bytes.len() > MAX_PACKED_BYTES {
            Err(Reason::BodyTooLong)
        } else {
            unpack(bytes.into_owned(), &mut self.bytes_left, &mut oddities)
        };
        let mut json = match unpacked {
            Ok(json) => json,
            Err(reason) if is_labelled || is_gzip => return self.problem(file_name, reason),
            Err(_) => return,
        };

        let mut pieces = Vec::new();
        let mut at = 0;
        while at < json.len() {
            if self.found.reports.len() + pieces.len() == MAX_REPORTS {
                self.problem(file_name.clone(), Reason::TooManyReports);
                break;
            }
            match read::parse_first(&json[at..], &mut self.room) {
                Ok((parsed, rest)) => {
                    let end = json.len() - rest.len();
                    pieces.push((parsed, at..end));
                    at = end;
                }
                // Several reports in one body are all read; what else follows the first is not.
                Err(_) if !pieces.is_empty() => {
                    oddities.insert(Oddity::TrailingBytes);
                    break;
                }
                Err(why) => {
                    // A text that happens to begin like JSON is nobody's problem.
                    if is_labelled || is_gzip || is_about_report(&why) {
                        let cut = oddities.contains(Oddity::PackedCutShort);
                        let cut = cut && why == ReportError::CutShort;
                        let reason = if cut { Reason::CutShort } else { why.into() };
                        self.problem(file_name, reason);
                    }
                    return;
                }
            }
        }

        let by_name = file_name.as_deref().map(Stated::in_file_name).unwrap_or_default();
        let stated = around.stated.clone().or(by_name);
        let is_one = pieces.len() == 1;
        for (parsed, range) in pieces {
            let ParsedReport { report, oddities: of_report, left_out } = parsed;
            self.found.reports.push(Found {
                report,
                oddities: oddities | of_report,
                left_out,
                // Not copied where there is but one, which may be long.
                json: if is_one {
                    json.truncate(range.end);
                    std::mem::take(&mut json)
                } else {
                    json[range].to_owned()
                },
                file_name: file_name.clone(),
                stated: stated.clone(),
                forwarded: around.forwarded,
            });
        }
    }
}

/// Whether reading got so far that this was meant as a report.
fn is_about_report(why: &ReportError) -> bool {
    !matches!(why, ReportError::NotJson { .. } | ReportError::NotAReport | ReportError::CutShort)
}

#[cfg(test)]
mod tests;
