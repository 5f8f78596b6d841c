//! Reports of real senders, which are not ours to give away: a folder of files, and an
//! `expected.json` that says what an independent reader found in each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use serde_json::{Map, Value, json};
use tls_rpt::{Extracted, Found, from_any};

#[test]
#[ignore = "needs DMARCER_TLSRPT_SAMPLES"]
fn every_sample_gives_what_an_independent_reader_found() {
    let folder = PathBuf::from(env::var_os("DMARCER_TLSRPT_SAMPLES").expect("a folder"));
    let expected = fs::read(folder.join("expected.json")).expect("expected.json");
    let expected: Map<String, Value> = serde_json::from_slice(&expected).expect("JSON");
    assert!(!expected.is_empty());
    let mut wrong = Vec::new();
    for (name, sample) in &expected {
        let extracted = from_any(&fs::read(folder.join(name)).expect(name));
        let found: Vec<Value> = extracted.reports.iter().map(summary).collect();
        let wanted: Vec<Value> =
            sample["reports"].as_array().expect(name).iter().map(plain).collect();
        if found != wanted {
            wrong.push(format!("{name}: {}", difference(&extracted, &found, &wanted)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), expected.len(), wrong.join("\n"));
}

/// What `expected.json` has of a report.
fn summary(found: &Found) -> Value {
    let report = &found.report;
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    let mut results: BTreeMap<String, u64> = BTreeMap::new();
    let mut domains = Vec::new();
    for outcome in &report.policies {
        *types.entry(outcome.policy.kind.as_str()).or_default() += 1;
        for (result, sessions) in outcome.results() {
            *results.entry(result.to_string()).or_default() += sessions;
        }
        domains.extend(found.domain_of(outcome));
    }
    domains.sort_unstable();
    domains.dedup();
    let sessions = report.policies.iter().map(|outcome| outcome.sessions);
    json!({
        "contact": report.contact_info,
        "organization": report.organization_name,
        "report_id": report.report_id,
        "start": report.date_range.start.to_string(),
        "end": report.date_range.end.to_string(),
        "policies": report.policies.len(),
        "policy_domains": domains,
        "policy_types": types,
        "failure_details": report.policies.iter().map(|o| o.failures.len()).sum::<usize>(),
        "result_types": results,
        "successful": sessions.clone().map(|s| s.successful).sum::<u64>(),
        "failed": sessions.map(|s| s.failed).sum::<u64>(),
    })
}

/// The other reader leaves dates without a zone as they are.
fn plain(wanted: &Value) -> Value {
    let mut wanted = wanted.clone();
    for edge in ["start", "end"] {
        let date = wanted[edge].as_str().unwrap_or_default();
        wanted[edge] = format!("{}Z", date.trim_end_matches('Z')).into();
    }
    wanted
}

fn difference(extracted: &Extracted, found: &[Value], wanted: &[Value]) -> String {
    format!("{:?}\n  found  {found:?}\n  wanted {wanted:?}", extracted.problems)
}
