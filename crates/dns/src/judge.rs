//! From what servers said to a row: what senders find, and what to do about it. Pure.
//!
//! The zone's own name servers decide. Resolvers add only a remark, as what they have in store
//! goes away by itself, except that where all of them fail on DNSSEC there is nothing to find.
//! A look without an answer is no status at all.
//!
//! A name that does not exist is an answer, so a domain that is gone is [`Status::NotPublished`].

mod cname;
mod sts;
mod tls_rpt;

use std::net::IpAddr;

use jiff::Timestamp;

use crate::answer::{Answer, End, Failure, Value};
use crate::expected::{Expected, KINDS, Kind};
use crate::foreign::{plain, readable};
use crate::hint::Hint;
use crate::zone::Said;

/// What senders find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Live,
    Mismatch,
    NotPublished,
    RegionIntakeNotConfigured,
}

/// What a look at one record came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was an answer.
    Known(Verdict),
    /// There was none, and why; the status stays what it was.
    Unknown { why: String, hint: Hint },
}

/// A row's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    pub(crate) found: String,
    pub(crate) hint: Option<Hint>,
}

/// Everything that was seen in one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) cname: Sight,
    pub(crate) sts: Sight,
    pub(crate) tls_rpt: Sight,
    /// The addresses of this claim's target, looked up when some stand at the policy host.
    pub(crate) ours: Vec<IpAddr>,
    /// The proof TXT, where a claim is not yet proven.
    pub(crate) proof: Said,
}

/// What was seen of one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    /// By the zone's name servers; one failure where they could not be found.
    pub(crate) servers: Said,
    /// By the resolvers.
    pub(crate) resolvers: Said,
}

/// What stands in the wrong place, looked up when something is not published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes {
    /// The domain itself does not exist.
    pub(crate) domain_gone: bool,
    /// TXT values at the domain.
    pub(crate) at_apex: Vec<Vec<u8>>,
    /// TXT values at `mta-sts.<domain>`.
    pub(crate) without_underscore: Vec<Vec<u8>>,
    /// Whether something stands at `<label>.<domain>.<domain>`, by kind.
    pub(crate) appended_twice: Vec<Kind>,
}

/// Judges all three records.
pub(crate) fn judge(expected: &Expected, seen: &Seen, probes: &Probes) -> [(Kind, Outcome); 3] {
    KINDS.map(|kind| {
        let outcome = match kind {
            Kind::Cname => {
                let proven = expected.proven || has_proof_txt(expected, seen);
                decide(expected, &seen.cname, |a| cname::judge(expected, a, &seen.ours, proven))
            }
            Kind::Sts if expected.policy_id.is_none() => waiting(expected, &seen.sts),
            Kind::Sts => decide(expected, &seen.sts, |answer| sts::judge(expected, answer)),
            Kind::TlsRpt => match &expected.reports_uri {
                None => Outcome::Known(not_configured()),
                Some(uri) => decide(expected, &seen.tls_rpt, |a| tls_rpt::judge(uri, a)),
            },
        };
        (kind, explained(kind, outcome, expected, seen, probes))
    })
}

/// Whether there is reason to believe that the claim can be proven now: the alias to its own target
/// at any name server, or what proves it by TXT.
pub(crate) fn proof_seen(expected: &Expected, seen: &Seen) -> bool {
    let aimed = |answer: &Answer| answer.aliases.first() == Some(&expected.target);
    answers(&seen.cname.servers).any(aimed) || has_proof_txt(expected, seen)
}

/// The id that senders find; one that is not ours, where servers differ. None when no server
/// answered.
pub(crate) fn found_policy_id(expected: &Expected, seen: &Seen) -> Option<String> {
    let mut ids: Vec<String> = answers(&seen.sts.servers).map(sts::found_id).collect();
    ids.sort_by_key(|id| (id.is_empty(), Some(id) == expected.policy_id.as_ref()));
    ids.into_iter().next()
}

/// Whether no name server has an STS record, not even a wrong one. All of them have to say so: a
/// server that is down may be the one that still has it, and a clock starts on this.
pub(crate) fn sts_absent(seen: &Seen) -> bool {
    let without = |answer: &Answer| {
        answer.end != End::Bare && !texts(answer).iter().any(|value| starts_like(value, b"v=STS"))
    };
    let said_so =
        |(_, answer): &(String, Result<Answer, Failure>)| answer.as_ref().is_ok_and(without);
    !seen.sts.servers.is_empty() && seen.sts.servers.iter().all(said_so)
}

/// Whether control would take what was seen as the proof by TXT: only what every server says, and
/// says of the very name, counts.
fn has_proof_txt(expected: &Expected, seen: &Seen) -> bool {
    let own = |answer: &Answer| match answer.aliases.is_empty() {
        true => texts(answer).iter().map(|value| readable(value.trim_ascii())).collect(),
        false => Vec::new(),
    };
    let txt = seen.proof.iter().map(|(server, said)| hosting::Answer {
        server: server.clone(),
        values: said.as_ref().map(own).map_err(Failure::to_string),
    });
    let observed =
        hosting::Observed { at: Timestamp::UNIX_EPOCH, cname: Vec::new(), txt: txt.collect() };
    hosting::is_proof(&expected.nonce, &expected.region_host, &observed)
}

fn answers(said: &Said) -> impl Iterator<Item = &Answer> {
    said.iter().filter_map(|(_, answer)| answer.as_ref().ok())
}

/// What a TLS-RPT row says while there is no mailbox to publish.
pub(crate) fn not_configured() -> Verdict {
    Verdict { status: Status::RegionIntakeNotConfigured, found: String::new(), hint: None }
}

/// The TXT row until the policy is served: nothing to publish, but what is there is shown.
fn waiting(expected: &Expected, sight: &Sight) -> Outcome {
    let show = |answer: &Answer| Verdict {
        status: Status::NotPublished,
        found: shown(&texts(answer)),
        hint: Some(Hint::waiting_for_edges()),
    };
    match decide(expected, sight, show) {
        Outcome::Known(verdict) => {
            Outcome::Known(Verdict { status: Status::NotPublished, ..verdict })
        }
        unknown => unknown,
    }
}

/// One verdict out of what all servers say.
fn decide(expected: &Expected, sight: &Sight, judge: impl Fn(&Answer) -> Verdict) -> Outcome {
    if let Some(why) = all_bogus(&sight.resolvers) {
        return unknown(expected, "resolvers", why);
    }
    let verdicts: Vec<(&str, Verdict)> = sight
        .servers
        .iter()
        .filter_map(|(server, answer)| Some((server.as_str(), judge(answer.as_ref().ok()?))))
        .collect();
    let Some((_, first)) = verdicts.first() else {
        let failed = sight.servers.iter().find_map(|(s, a)| Some((s, a.as_ref().err()?)));
        return match failed {
            Some((server, why)) => unknown(expected, server, why),
            None => unknown(expected, "", &Failure::NoZone(expected.domain.to_string())),
        };
    };
    let is_live = |verdict: &Verdict| verdict.status == Status::Live;
    let live = verdicts.iter().filter(|(_, verdict)| is_live(verdict)).count();
    if live > 0
        && let Some((server, other)) = verdicts.iter().find(|(_, verdict)| !is_live(verdict))
    {
        let of = verdicts.len();
        let hint = Some(Hint::name_servers_disagree(of - live, of, server));
        return Outcome::Known(Verdict { status: Status::Mismatch, hint, ..other.clone() });
    }
    // What is wrong counts before what is missing, and what can be explained before what can't.
    let weight = |(_, verdict): &&(&str, Verdict)| {
        (verdict.status != Status::Mismatch, verdict.hint.is_none())
    };
    let chosen = verdicts.iter().min_by_key(weight).map_or(first, |(_, verdict)| verdict);
    let remark = if live > 0 { remark(expected, sight, &judge) } else { None };
    let hint = chosen.hint.clone().or(remark);
    Outcome::Known(Verdict { hint, ..chosen.clone() })
}

/// What else there is to say of a record that is right at the name servers.
fn remark(expected: &Expected, sight: &Sight, judge: impl Fn(&Answer) -> Verdict) -> Option<Hint> {
    let lame = |(server, answer): &(String, Result<Answer, Failure>)| {
        let is_lame = matches!(answer, Err(why) if *why.root() == Failure::Lame);
        is_lame.then(|| Hint::lame_delegation(server, expected.domain.as_str()))
    };
    let stale = |answer: &Answer| match judge(answer).status {
        Status::NotPublished => Some(Hint::negative_cache()),
        Status::Mismatch => Some(Hint::cached_old()),
        Status::Live | Status::RegionIntakeNotConfigured => None,
    };
    answers(&sight.resolvers).find_map(stale).or_else(|| sight.servers.iter().find_map(lame))
}

/// DNSSEC, where all resolvers that said anything fail on it.
fn all_bogus(resolvers: &Said) -> Option<&Failure> {
    let is_bogus = |answer: &&Result<Answer, Failure>| matches!(answer, Err(why) if *why.root() == Failure::Bogus);
    let any_answer = answers(resolvers).next().is_some();
    let bogus = resolvers.iter().map(|(_, answer)| answer).find(is_bogus)?;
    if any_answer { None } else { bogus.as_ref().err() }
}

fn unknown(expected: &Expected, server: &str, why: &Failure) -> Outcome {
    let text = if server.is_empty() { why.to_string() } else { format!("{server}: {why}") };
    let hint = Hint::of_failure(why.root(), server, expected.domain.as_str());
    Outcome::Unknown { why: plain(&text), hint }
}

/// Adds what stands in the wrong place to a record that was not found in the right one.
fn explained(
    kind: Kind,
    outcome: Outcome,
    expected: &Expected,
    seen: &Seen,
    probes: &Probes,
) -> Outcome {
    match outcome {
        Outcome::Known(verdict)
            if verdict.status == Status::NotPublished && verdict.hint.is_none() =>
        {
            let hint = misplaced(kind, expected, seen, probes);
            Outcome::Known(Verdict { hint, ..verdict })
        }
        other => other,
    }
}

fn misplaced(kind: Kind, expected: &Expected, seen: &Seen, probes: &Probes) -> Option<Hint> {
    let domain = expected.domain.as_str();
    let is_ours = |values: &[Vec<u8>]| values.iter().any(|value| belongs(kind, value));
    let aliased = || answers(&seen.sts.servers).any(|a| a.aliases.contains(&expected.target));
    if probes.domain_gone {
        Some(Hint::domain_gone(domain))
    } else if probes.appended_twice.contains(&kind) {
        Some(Hint::zone_appended_twice(kind.label(), domain))
    } else if is_ours(&probes.at_apex) {
        Some(Hint::at_apex(kind.label(), domain))
    } else if kind == Kind::Sts && is_ours(&probes.without_underscore) {
        Some(Hint::underscore("UNDERSCORE_MISSING"))
    } else if kind == Kind::Cname && aliased() {
        Some(Hint::underscore("UNDERSCORE_EXTRA"))
    } else {
        None
    }
}

/// Whether a TXT value was meant for this record.
fn belongs(kind: Kind, value: &[u8]) -> bool {
    match kind {
        Kind::Cname => false,
        Kind::Sts => starts_like(value, b"v=STSv1"),
        Kind::TlsRpt => starts_like(value, b"v=TLSRPTv1"),
    }
}

/// Whether a value begins so, in whatever case, blanks and quotes aside.
fn starts_like(value: &[u8], start: &[u8]) -> bool {
    let bare = match value.trim_ascii() {
        [b'"' | b'\'', rest @ ..] => rest,
        bare => bare,
    };
    bare.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

fn texts(answer: &Answer) -> Vec<Vec<u8>> {
    let End::Values(values) = &answer.end else { return Vec::new() };
    let text = |value: &Value| match value {
        Value::Text(bytes) => Some(bytes.clone()),
        _ => None,
    };
    values.iter().filter_map(text).collect()
}

/// What every TXT row makes of an answer that has no values: an answer that does.
fn without_values(answer: &Answer) -> Option<Verdict> {
    let status =
        |status, hint| Some(Verdict { status, found: plain(&answer.aliases.join(", ")), hint });
    match (&answer.end, answer.aliases.last()) {
        (End::Values(_), _) => None,
        (End::Circle, _) => status(Status::Mismatch, Some(Hint::cname_loop())),
        (End::TooLong, _) => status(Status::Mismatch, Some(Hint::cname_chain_long())),
        (_, Some(target)) => status(Status::NotPublished, Some(Hint::alias_to_nothing(target))),
        (_, None) => status(Status::NotPublished, None),
    }
}

/// TXT values as people can read them.
fn shown(values: &[Vec<u8>]) -> String {
    let values: Vec<String> = values.iter().map(|value| readable(value)).collect();
    plain(&values.join(", "))
}

#[cfg(test)]
mod tests;
