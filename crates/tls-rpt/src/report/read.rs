//! A report out of JSON, in one pass and without a tree of values in between.
//!
//! Each kind of object says what to do with each of its fields ([`Fields`]); each other kind of value
//! is in `leaf.rs`. What they notice on the way goes into [`Notes`].

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess};
use serde_json::error::Category;

use super::leaf::{Count, Domain, Instant, Lines, Text};
use super::mend::mend;
use super::name::Name;
use super::object::{Fields, Items, List, Object};
use super::value::{Read, Skip};
use super::{
    Failure, LeftOut, ParsedReport, Policy, PolicyOutcome, PolicyType, Report, ReportError,
    Sessions, add_counts,
};
use crate::limits::{MAX_DETAILS, MAX_LINES_IN_ALL, MAX_POLICIES};
use crate::oddity::{Oddities, Oddity};
use crate::range::{DateRange, Edge};
use crate::result_type::ResultType;

/// What may still be kept, of all reports of one mail.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    policies: usize,
    details: usize,
    pub(super) lines: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { policies: MAX_POLICIES, details: MAX_DETAILS, lines: MAX_LINES_IN_ALL }
    }
}

/// What is noticed on the way through one report.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) oddities: Oddities,
    pub(super) room: Room,
    left_out: LeftOut,
    /// Why reading was given up, where that was ours to decide: a `serde_json::Error` carries no
    /// more than text.
    refusal: Option<ReportError>,
}

impl Notes {
    pub(super) fn note(&mut self, oddity: Oddity) {
        self.oddities.insert(oddity);
    }

    pub(super) fn refuse<E: serde::de::Error>(&mut self, why: ReportError) -> E {
        self.refusal = Some(why);
        E::custom("refused")
    }
}

/// Reads the first report in `json`, and returns what follows it, without the space between.
///
/// What follows a report that had to be mended is not returned: it is noted.
pub(crate) fn parse_first<'j>(
    json: &'j str,
    room: &mut Room,
) -> Result<(ParsedReport, &'j str), ReportError> {
    match attempt(json, *room) {
        Ok((report, rest, left)) => {
            *room = left;
            Ok((report, rest))
        }
        Err(Failed::Refused(why)) => Err(why),
        Err(Failed::Json(error)) => match mend(json).map(|mended| retry(&mended, room)) {
            Some(Ok(report)) => Ok((report, "")),
            Some(Err(Failed::Refused(why))) => Err(why),
            Some(Err(Failed::Json(later))) if later.is_eof() => Err(ReportError::CutShort),
            // Where the later one stands in what was sent, nobody knows.
            None | Some(Err(Failed::Json(_))) => Err(in_our_words(&error)),
        },
    }
}

fn retry(mended: &str, room: &mut Room) -> Result<ParsedReport, Failed> {
    let (mut report, rest, left) = attempt(mended, *room)?;
    *room = left;
    report.oddities.insert(Oddity::Mended);
    if !rest.is_empty() {
        report.oddities.insert(Oddity::TrailingBytes);
    }
    Ok(report)
}

enum Failed {
    Refused(ReportError),
    Json(serde_json::Error),
}

/// Reads a report; also returns what follows it, and the room that is left.
fn attempt(json: &str, room: Room) -> Result<(ParsedReport, &str, Room), Failed> {
    let mut notes = Notes { room, ..Notes::default() };
    let mut reader = serde_json::Deserializer::from_str(json);
    let draft = match Read(Object::<Draft>::new(&mut notes)).deserialize(&mut reader) {
        Ok(Some(draft)) => draft,
        Ok(None) => return Err(Failed::Refused(ReportError::NotAReport)),
        Err(error) => return Err(notes.refusal.map_or(Failed::Json(error), Failed::Refused)),
    };
    let rest = if reader.end().is_ok() { "" } else { behind_first_value(json) };
    let report = draft.finish(&mut notes).map_err(Failed::Refused)?;
    let Notes { oddities, left_out, room, .. } = notes;
    Ok((ParsedReport { report, oddities, left_out }, rest, room))
}

/// The reader does not tell where it stands, but this iterator does.
fn behind_first_value(json: &str) -> &str {
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<IgnoredAny>();
    values.next();
    json.get(values.byte_offset()..).unwrap_or_default().trim_start()
}

fn in_our_words(error: &serde_json::Error) -> ReportError {
    match error.classify() {
        Category::Eof => ReportError::CutShort,
        // Its own limit, which guards the stack, is beyond ours.
        _ if error.to_string().starts_with("recursion limit") => ReportError::TooDeep,
        _ => ReportError::NotJson { line: error.line(), column: error.column() },
    }
}

/// A report of which not all fields have come.
#[derive(Default)]
struct Draft {
    organization_name: Option<String>,
    contact_info: Option<String>,
    report_id: Option<String>,
    range: RangeDraft,
    policies: Option<Vec<PolicyOutcome>>,
}

impl Draft {
    fn finish(self, notes: &mut Notes) -> Result<Report, ReportError> {
        let policies = self.policies.ok_or(ReportError::NotAReport)?;
        let (Some(start), Some(end)) = (self.range.start, self.range.end) else {
            return Err(ReportError::NoDates);
        };
        if self.report_id.is_none() {
            notes.note(Oddity::NoReportId);
        }
        if policies.iter().any(|outcome| outcome.policy.domain.is_none()) {
            notes.note(Oddity::NoPolicyDomain);
        }
        Ok(Report {
            organization_name: self.organization_name,
            date_range: DateRange { start, end },
            contact_info: self.contact_info,
            report_id: self.report_id.unwrap_or_default(),
            policies,
        })
    }
}

impl<'de> Fields<'de> for Draft {
    fn blank() -> Draft {
        Draft::default()
    }

    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error> {
        match name {
            Name::Organization => {
                self.organization_name = map.next_value_seed(Read(Text(notes)))?;
            }
            Name::ContactInfo => self.contact_info = map.next_value_seed(Read(Text(notes)))?,
            Name::ReportId => self.report_id = map.next_value_seed(Read(Text(notes)))?,
            Name::DateRange => {
                let range = map.next_value_seed(Read(Object::new(notes)))?;
                self.range = range.unwrap_or_default();
            }
            Name::Policies => self.policies = map.next_value_seed(Read(List::new(notes)))?,
            _ => map.next_value_seed(Read(Skip::new(notes)))?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct RangeDraft {
    start: Option<jiff::Timestamp>,
    end: Option<jiff::Timestamp>,
}

impl<'de> Fields<'de> for RangeDraft {
    fn blank() -> RangeDraft {
        RangeDraft::default()
    }

    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error> {
        match name {
            Name::StartDatetime => {
                let field = "start-datetime";
                self.start =
                    map.next_value_seed(Read(Instant { field, edge: Edge::Start, notes }))?;
            }
            Name::EndDatetime => {
                let field = "end-datetime";
                self.end = map.next_value_seed(Read(Instant { field, edge: Edge::End, notes }))?;
            }
            _ => map.next_value_seed(Read(Skip::new(notes)))?,
        }
        Ok(())
    }
}

impl<'de> Items<'de> for Vec<PolicyOutcome> {
    type Item = PolicyOutcome;

    fn add(&mut self, outcome: PolicyOutcome, notes: &mut Notes) -> Result<(), ReportError> {
        let room = notes.room.policies.checked_sub(1).ok_or(ReportError::TooManyPolicies)?;
        notes.room.policies = room;
        self.push(outcome);
        Ok(())
    }
}

impl<'de> Fields<'de> for PolicyOutcome {
    fn blank() -> PolicyOutcome {
        PolicyOutcome {
            policy: Policy::blank(),
            sessions: Sessions::default(),
            failures: Vec::new(),
        }
    }

    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error> {
        match name {
            Name::Policy => {
                let policy = map.next_value_seed(Read(Object::new(notes)))?;
                self.policy = policy.unwrap_or_else(Policy::blank);
            }
            Name::Summary => {
                let sessions = map.next_value_seed(Read(Object::new(notes)))?;
                self.sessions = sessions.unwrap_or_default();
            }
            Name::FailureDetails => {
                let failures = map.next_value_seed(Read(List::new(notes)))?;
                self.failures = failures.unwrap_or_default();
            }
            _ => map.next_value_seed(Read(Skip::new(notes)))?,
        }
        Ok(())
    }
}

impl<'de> Fields<'de> for Policy {
    fn blank() -> Policy {
        let kind = PolicyType::Other(String::new());
        Policy { kind, lines: Vec::new(), domain: None, mx_hosts: Vec::new() }
    }

    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error> {
        match name {
            Name::PolicyType => {
                let text = map.next_value_seed(Read(Text(notes)))?.unwrap_or_default();
                self.kind = PolicyType::from_text(&text);
            }
            Name::PolicyString => self.lines = map.next_value_seed(Read(Lines(notes)))?,
            Name::PolicyDomain => self.domain = map.next_value_seed(Read(Domain(notes)))?,
            Name::MxHost => self.mx_hosts = map.next_value_seed(Read(Lines(notes)))?,
            _ => map.next_value_seed(Read(Skip::new(notes)))?,
        }
        Ok(())
    }
}

impl<'de> Fields<'de> for Sessions {
    fn blank() -> Sessions {
        Sessions::default()
    }

    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error> {
        match name {
            Name::Successful => {
                let field = "total-successful-session-count";
                self.successful = map.next_value_seed(Read(Count { field, notes }))?;
            }
            Name::Failed => {
                let field = "total-failure-session-count";
                self.failed = map.next_value_seed(Read(Count { field, notes }))?;
            }
            _ => map.next_value_seed(Read(Skip::new(notes)))?,
        }
        Ok(())
    }
}

impl<'de> Items<'de> for Vec<Failure> {
    type Item = Failure;

    fn add(&mut self, failure: Failure, notes: &mut Notes) -> Result<(), ReportError> {
        if let Some(room) = notes.room.details.checked_sub(1) {
            notes.room.details = room;
            self.push(failure);
        } else {
            notes.note(Oddity::DetailsLeftOut);
            notes.left_out.details += 1;
            notes.left_out.sessions = add_counts(notes.left_out.sessions, failure.sessions);
        }
        Ok(())
    }
}

impl<'de> Fields<'de> for Failure {
    fn blank() -> Failure {
        Failure {
            result_type: ResultType::Other(String::new()),
            sending_mta_ip: None,
            receiving_mx_hostname: None,
            receiving_mx_helo: None,
            receiving_ip: None,
            sessions: 0,
            additional_information: None,
            failure_reason_code: None,
        }
    }

    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error> {
        let text = match name {
            Name::ResultType => {
                let text = map.next_value_seed(Read(Text(notes)))?.unwrap_or_default();
                self.result_type = ResultType::from_text(&text);
                return Ok(());
            }
            Name::FailedSessions => {
                let field = "failed-session-count";
                self.sessions = map.next_value_seed(Read(Count { field, notes }))?;
                return Ok(());
            }
            Name::ReceivingMxHostname => {
                self.receiving_mx_hostname = map.next_value_seed(Read(Domain(notes)))?;
                return Ok(());
            }
            Name::SendingMtaIp => &mut self.sending_mta_ip,
            Name::ReceivingMxHelo => &mut self.receiving_mx_helo,
            Name::ReceivingIp => &mut self.receiving_ip,
            Name::AdditionalInformation => &mut self.additional_information,
            Name::FailureReasonCode => &mut self.failure_reason_code,
            _ => return map.next_value_seed(Read(Skip::new(notes))),
        };
        *text = map.next_value_seed(Read(Text(notes)))?;
        Ok(())
    }
}
