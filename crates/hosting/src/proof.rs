//! When a claim is proven, and when it passes to another workspace.
//!
//! Whoever controls a domain's DNS, or an alias left over in it, can plant a policy that senders
//! keep for long ([RFC 8461 section 10.3](https://www.rfc-editor.org/rfc/rfc8461#section-10.3)).
//! So what proves is bound to the one claim, and read where nobody else can answer.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use crate::names::Nonce;

/// How far apart the two looks at a transfer are at least: longer than a mistaken zone usually
/// stays, and than one captured answer can last.
pub const TRANSFER_LOOKS_APART: SignedDuration = SignedDuration::from_mins(5);

const TXT_PREFIX: &str = "dmarcer=";

/// What the zone's authoritative name servers said in one look, each asked directly.
///
/// Servers that we run ourselves do not belong here: our own answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// When.
    pub at: Timestamp,
    /// The CNAME targets at the policy host.
    pub cname: Vec<Answer>,
    /// The TXT values at the domain's [proof name](crate::Domain::proof_name), each record's
    /// strings joined.
    pub txt: Vec<Answer>,
}

/// What one server said to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which server, for people to read.
    pub server: String,
    /// The values found; none for NXDOMAIN and for no data; why it gave none otherwise.
    pub values: Result<Vec<String>, String>,
}

/// Which record proved a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The alias to this claim's own target.
    Cname,
    /// The TXT, where the zone cannot hold that alias.
    Txt,
}

/// Where a claim's policy host is to point: `<nonce>.<region host>`.
pub fn cname_target(nonce: &Nonce, region_host: &str) -> String {
    format!("{nonce}.{}", bare(region_host).to_ascii_lowercase())
}

/// What a claim may show as TXT at its [proof name](crate::Domain::proof_name) instead:
/// `dmarcer=<nonce>`.
pub fn txt_value(nonce: &Nonce) -> String {
    format!("{TXT_PREFIX}{nonce}")
}

/// Whether one look proves the claim with this nonce, and by which record.
///
/// Every server asked gives this claim's own CNAME target and no other; or every server gives its
/// TXT, and no other claim's. At least one was asked, and none failed: a server that is down may
/// be the one that disagrees.
pub fn proof(nonce: &Nonce, region_host: &str, observed: &Observed) -> Option<Proof> {
    let target = cname_target(nonce, region_host);
    let value = txt_value(nonce);
    let only_target = |values: &[String]| {
        !values.is_empty() && values.iter().all(|found| bare(found).eq_ignore_ascii_case(&target))
    };
    let only_value = |values: &[String]| {
        let mut ours = values.iter().filter_map(|found| claimed(found)).peekable();
        ours.peek().is_some() && ours.all(|found| found.eq_ignore_ascii_case(&value))
    };
    if all(&observed.cname, only_target) {
        Some(Proof::Cname)
    } else if all(&observed.txt, only_value) {
        Some(Proof::Txt)
    } else {
        None
    }
}

/// Whether one look proves the claim with this nonce: [`proof`] as yes or no.
pub fn is_proof(nonce: &Nonce, region_host: &str, observed: &Observed) -> bool {
    proof(nonce, region_host, observed).is_some()
}

/// Whether a domain that is proven for `old` passes to the claim with `new`.
///
/// Twice, at least [`TRANSFER_LOOKS_APART`], every server must show the new nonce and none the old
/// one, at either name. A forgotten alias of the old owner is thus never overruled by a TXT alone.
pub fn may_transfer(
    old: &Nonce,
    new: &Nonce,
    region_host: &str,
    first: &Observed,
    second: &Observed,
) -> bool {
    let moved = |look: &Observed| has_moved(old, new, region_host, look);
    second.at.duration_since(first.at) >= TRANSFER_LOOKS_APART && moved(first) && moved(second)
}

/// Whether one look shows the new claim on every server and the old one on none: half of what
/// [`may_transfer`] asks for.
pub fn has_moved(old: &Nonce, new: &Nonce, region_host: &str, look: &Observed) -> bool {
    is_proof(new, region_host, look) && is_gone(old, look)
}

/// Every server was asked for both records, and none shows the nonce, in whatever region.
fn is_gone(old: &Nonce, look: &Observed) -> bool {
    let value = txt_value(old);
    let not_aimed_at = |values: &[String]| {
        values.iter().all(|found| {
            let label = found.split('.').next().unwrap_or(found);
            !label.trim().eq_ignore_ascii_case(old.as_str())
        })
    };
    let not_shown = |values: &[String]| {
        values.iter().filter_map(|found| claimed(found)).all(|f| !f.eq_ignore_ascii_case(&value))
    };
    all(&look.cname, not_aimed_at) && all(&look.txt, not_shown)
}

/// Whether there are answers, none failed, and `holds` is true of each.
fn all(answers: &[Answer], holds: impl Fn(&[String]) -> bool) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| answer.values.as_deref().is_ok_and(&holds))
}

/// The TXT value, if it is one by which some claim is shown. Others may stand beside it.
fn claimed(found: &str) -> Option<&str> {
    let found = found.trim();
    let prefix = found.get(..TXT_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(TXT_PREFIX).then_some(found)
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
