//! The CNAME row: `mta-sts.<domain>` has to lead to this claim's own target.

use std::net::IpAddr;

use super::{Status, Verdict};
use crate::answer::{Answer, End, Value};
use crate::expected::Expected;
use crate::foreign::plain;
use crate::hint::Hint;

/// Judges one server's answer, its aliases followed.
///
/// What reaches the region in another way than by an alias to this claim's target at the very name,
/// through further aliases, by the region's plain host or by its addresses, serves senders well
/// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)), but says nothing
/// about whose claim it is: it is Live once the claim has been proven.
pub(super) fn judge(
    expected: &Expected,
    answer: &Answer,
    ours: &[IpAddr],
    proven: bool,
) -> Verdict {
    let Some(first) = answer.aliases.first() else {
        return without_alias(expected, answer, ours, proven);
    };
    let verdict = |status, hint| Verdict { status, found: plain(first), hint };
    let mismatch = |hint| verdict(Status::Mismatch, Some(hint));
    let target = &expected.target;
    if first == target {
        return verdict(Status::Live, None);
    }
    if answer.aliases.contains(target) || answer.aliases.contains(&expected.region_host) {
        return match proven {
            true => verdict(Status::Live, None),
            false => mismatch(Hint::unproven_alias(first, target)),
        };
    }
    if *first == format!("{target}.{}", expected.domain) {
        return mismatch(Hint::cname_target_doubled(expected.domain.as_str()));
    }
    match answer.end {
        End::Circle => mismatch(Hint::cname_loop()),
        End::TooLong => mismatch(Hint::cname_chain_long()),
        _ => mismatch(Hint::cname_other_target(first, target)),
    }
}

fn without_alias(expected: &Expected, answer: &Answer, ours: &[IpAddr], proven: bool) -> Verdict {
    let End::Values(values) = &answer.end else {
        return Verdict { status: Status::NotPublished, found: String::new(), hint: None };
    };
    let found = plain(&values.iter().map(show).collect::<Vec<_>>().join(", "));
    let is_ours = |value: &Value| matches!(value, Value::Address(ip) if ours.contains(ip));
    let (status, hint) = if values.iter().all(is_ours) {
        let status = if proven { Status::Live } else { Status::Mismatch };
        let txt = (expected.domain.proof_name(), expected.proof_txt.as_str());
        (status, Hint::flattened(proven, &txt.0, txt.1))
    } else if values.iter().any(|value| matches!(value, Value::Alias(_))) {
        (Status::Mismatch, Hint::cname_other_target(&found, &expected.target))
    } else {
        (Status::Mismatch, Hint::a_record(&expected.domain.policy_host()))
    };
    Verdict { status, found, hint: Some(hint) }
}

fn show(value: &Value) -> String {
    match value {
        Value::Address(ip) => ip.to_string(),
        Value::Alias(name) | Value::Server(name) => name.clone(),
        Value::Text(_) | Value::Mail { .. } => String::new(),
    }
}
