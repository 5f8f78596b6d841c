//! From 'activate' to a sender that accepts the policy, and back: with a real CA that validates over
//! real DNS, and an unmodified sender.

use std::time::Duration;

use dmarcer_tests::{Failure, Internet, Outcome, Product, Resolver, World, curl, dig, netns, wait};
use serde_json::Value;

const DOMAIN: &str = "example.test";
const URL: &str = "https://mta-sts.example.test/.well-known/mta-sts.txt";
/// Everything here takes seconds; a busy machine gets this long.
const SOON: Duration = Duration::from_secs(60);

/// Each advisory check that is open in a world without reports, accepted by name.
fn accept_open_checks(product: &Product) -> Outcome<Vec<String>> {
    let readiness = product.json(&["readiness", DOMAIN])?;
    let checks = readiness["checks"].as_array().cloned().unwrap_or_default();
    let open = checks
        .iter()
        .filter(|check| check["blocking"] == false && check["status"] != "CHECK_STATUS_MET");
    let ids = open.filter_map(|check| check["id"].as_str());
    Ok(ids.flat_map(|id| ["--accept".to_owned(), id.to_owned()]).collect())
}

fn record(product: &Product, name: &str) -> Outcome<Value> {
    let records = product.json(&["dns", "records", DOMAIN])?;
    let items = records["items"].as_array().cloned().unwrap_or_default();
    let found = items.into_iter().find(|record| record["name"] == name);
    found.ok_or_else(|| Failure::new(format!("no record {name} in {records}")))
}

fn until_record_is(product: &Product, name: &str, status: &str) -> Outcome<Value> {
    wait::until(SOON, &format!("{name} {status}"), || {
        let record = record(product, name).map_err(|failure| failure.to_string())?;
        let is = record["status"].as_str().is_some_and(|found| found.ends_with(status));
        if is { Ok(record) } else { Err(record.to_string()) }
    })
}

/// Publishes what is shown for a record.
fn publish(product: &Product, internet: &Internet, name: &str) -> Outcome {
    let record = wait::until(SOON, &format!("a value to publish at {name}"), || {
        let record = record(product, name).map_err(|failure| failure.to_string())?;
        let there = record["value"].as_str().is_some_and(|value| !value.is_empty());
        if there { Ok(record) } else { Err(record.to_string()) }
    })?;
    let value = record["value"].as_str().unwrap_or_default();
    match record["type"].as_str() {
        Some("TXT") => internet.zones.set(name, "TXT", &format!("\"{value}\"")),
        _ => internet.zones.set(name, "CNAME", &format!("{value}.")),
    }
}

/// From nothing to a policy in testing that senders find.
fn host(product: &Product, internet: &Internet) -> Outcome {
    product.json(&["domain", "add", DOMAIN])?;
    product.json(&["hosting", "activate", DOMAIN])?;
    publish(product, internet, "mta-sts.example.test")?;
    publish(product, internet, "_mta-sts.example.test")?;
    until_record_is(product, "mta-sts.example.test", "_LIVE")?;
    until_record_is(product, "_mta-sts.example.test", "_LIVE")?;
    Ok(())
}

fn promote(product: &Product) -> Outcome {
    let accepted = accept_open_checks(product)?;
    let mut arguments = vec!["policy", "promote", DOMAIN, "--yes", "--wait"];
    arguments.extend(accepted.iter().map(String::as_str));
    product.json(&arguments)?;
    Ok(())
}

#[test]
fn a_domain_goes_from_activate_to_enforce_and_back_before_a_real_sender() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let sender = Resolver::start(world, internet.authority.issuer_file())?;
        let product = Product::start(world, &internet)?;

        // Activated, but nothing is served or to be published in TXT before the claim is proven.
        product.json(&["domain", "add", "EXAMPLE.test."])?;
        let domain = product.json(&["hosting", "activate", DOMAIN])?;
        assert_eq!(domain["hosting"]["region"], "eu-1");
        let policy = product.json(&["policy", "show", DOMAIN])?;
        assert_eq!(policy["mode"], "POLICY_MODE_TESTING");
        assert_eq!(policy["mx"], serde_json::json!(["mx.example.test"]));
        assert_eq!(record(&product, "_mta-sts.example.test")?["value"], "");
        assert_eq!(
            record(&product, "_smtp._tls.example.test")?["status"],
            "RECORD_STATUS_REGION_INTAKE_NOT_CONFIGURED"
        );

        // The CNAME proves it; the certificate comes; only then is there an id to publish.
        publish(&product, &internet, "mta-sts.example.test")?;
        until_record_is(&product, "mta-sts.example.test", "_LIVE")?;
        publish(&product, &internet, "_mta-sts.example.test")?;
        until_record_is(&product, "_mta-sts.example.test", "_LIVE")?;
        let certificate = product.json(&["cert", "show", DOMAIN])?;
        assert_eq!(certificate["status"], "CERTIFICATE_STATUS_VALID");
        let served = curl::fetch(URL, internet.authority.issuer_file())?;
        assert_eq!(
            served,
            "version: STSv1\r\nmode: testing\r\nmx: mx.example.test\r\nmax_age: 86400\r\n"
        );
        let found = sender.query(DOMAIN)?;
        assert!(found.contains("testing"), "{found}");
        assert_eq!(sender.lookup(DOMAIN)?, "NOTFOUND ", "testing binds no sender");

        // Promoted: refused until what is open is accepted by name.
        let refused = product.refusal(&["policy", "promote", DOMAIN, "--yes"])?;
        assert_eq!(refused["reason"], "NOT_READY");
        promote(&product)?;
        let served = curl::fetch(URL, internet.authority.issuer_file())?;
        assert!(served.contains("mode: enforce"), "{served}");
        publish(&product, &internet, "_mta-sts.example.test")?;
        until_record_is(&product, "_mta-sts.example.test", "_LIVE")?;
        wait::until(SOON, "the sender to enforce", || {
            match sender.lookup(DOMAIN).map_err(|failure| failure.to_string())? {
                answer if answer.starts_with("OK secure match=mx.example.test") => Ok(()),
                answer => Err(answer),
            }
        })?;

        // Reverted the same way back.
        product.json(&["policy", "revert", DOMAIN, "--wait"])?;
        let served = curl::fetch(URL, internet.authority.issuer_file())?;
        assert!(served.contains("mode: testing"), "{served}");
        publish(&product, &internet, "_mta-sts.example.test")?;
        wait::until(SOON, "the sender to let go", || {
            match sender.lookup(DOMAIN).map_err(|failure| failure.to_string())? {
                answer if answer.starts_with("NOTFOUND") => Ok(()),
                answer => Err(answer),
            }
        })?;

        // Every body had an id of its own, and fetches were counted.
        let history = product.json(&["policy", "history", DOMAIN])?;
        let versions = history["items"].as_array().cloned().unwrap_or_default();
        let ids: std::collections::BTreeSet<_> =
            versions.iter().filter_map(|version| version["policyId"].as_str()).collect();
        assert_eq!((versions.len(), ids.len()), (3, 3), "{history}");
        wait::until(SOON, "the fetches to be counted", || {
            let activity = product.json(&["activity", DOMAIN]).map_err(|e| e.to_string())?;
            match activity["total"].as_u64() {
                Some(total) if total >= 3 => Ok(()),
                _ => Err(activity.to_string()),
            }
        })
    })
}

#[test]
fn the_new_id_is_never_shown_before_every_edge_serves_its_body() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let product = Product::start(world, &internet)?;
        host(&product, &internet)?;
        promote(&product)?;
        for _ in 0..5 {
            for (command, mode) in [("revert", "testing"), ("promote", "enforce")] {
                let before = product.json(&["policy", "show", DOMAIN])?["policyId"].clone();
                if command == "promote" {
                    publish(&product, &internet, "_mta-sts.example.test")?;
                    until_record_is(&product, "_mta-sts.example.test", "_LIVE")?;
                    promote(&product)?;
                } else {
                    product.json(&["policy", "revert", DOMAIN])?;
                }
                // As soon as the new id is shown, the body is there.
                wait::until(SOON, "a new id", || {
                    let shown = product.json(&["policy", "show", DOMAIN]);
                    let shown = shown.map_err(|failure| failure.to_string())?;
                    if shown["policyId"] == before { Err(shown.to_string()) } else { Ok(()) }
                })?;
                let served = curl::fetch(URL, internet.authority.issuer_file())?;
                assert!(served.contains(&format!("mode: {mode}")), "{served}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_cname_with_another_claims_nonce_gets_neither_certificate_nor_policy() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let product = Product::start(world, &internet)?;
        product.json(&["domain", "add", DOMAIN])?;
        product.json(&["hosting", "activate", DOMAIN])?;
        let foreign = "aaaaaaaaaaaaaaaaaaaa.eu-1.region.test.";
        internet.zones.set("mta-sts.example.test", "CNAME", foreign)?;
        let shown = until_record_is(&product, "mta-sts.example.test", "_MISMATCH")?;
        assert!(shown["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{shown}");

        // It has been looked at, and looked at again: nothing follows from it.
        product.json(&["dns", "check", DOMAIN])?;
        product.json(&["dns", "check", DOMAIN])?;
        let domain = product.json(&["domain", "show", DOMAIN])?;
        assert_eq!(domain["hosting"]["state"], "HOSTING_STATE_PENDING");
        let certificate = product.json(&["cert", "show", DOMAIN])?;
        assert_eq!(certificate["status"], "CERTIFICATE_STATUS_WAITING");
        assert!(curl::fetch(URL, internet.authority.issuer_file()).is_err());
        let asked = internet.authority.log()?;
        assert!(!asked.contains("example.test"), "the CA was asked for nothing: {asked}");
        assert_eq!(
            dig::ask(World::DNS_HOST, "_mta-sts.example.test", "TXT")?,
            Vec::<String>::new()
        );
        Ok(())
    })
}

#[test]
fn three_reissues_in_seven_days_and_never_two_at_once() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let product = Product::start(world, &internet)?;
        host(&product, &internet)?;
        let serial = |product: &Product| -> Outcome<String> {
            let shown = product.json(&["cert", "show", DOMAIN])?;
            Ok(shown["serial"].as_str().unwrap_or_default().to_owned())
        };
        let first = serial(&product)?;
        product.json(&["cert", "reissue", DOMAIN, "--wait"])?;
        let second = serial(&product)?;
        assert_ne!(first, second);

        // 100 at once: two are left, and they come one after the other.
        let mut asking = Vec::new();
        for _ in 0..100 {
            let mut command = product.command(&["cert", "reissue", DOMAIN, "--wait"])?;
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            asking.push(command.spawn()?);
        }
        let mut reasons = Vec::new();
        for child in asking {
            let output = child.wait_with_output()?;
            if output.status.success() {
                reasons.push("DONE".to_owned());
                continue;
            }
            let error: Value = serde_json::from_slice(&output.stderr)?;
            reasons.push(error["reason"].as_str().unwrap_or_default().to_owned());
        }
        let done = reasons.iter().filter(|reason| *reason == "DONE").count();
        assert!((1..=2).contains(&done), "{reasons:?}");
        let told = ["DONE", "REISSUE_LIMIT", "REISSUE_IN_FLIGHT"];
        assert!(reasons.iter().all(|reason| told.contains(&reason.as_str())), "{reasons:?}");

        // What the parallel ones left over is used up one by one, and then the time is named.
        for _ in done..2 {
            product.json(&["cert", "reissue", DOMAIN, "--wait"])?;
        }
        let refused = product.refusal(&["cert", "reissue", DOMAIN])?;
        assert_eq!(refused["reason"], "REISSUE_LIMIT");
        let shown = product.json(&["cert", "show", DOMAIN])?;
        assert_eq!(shown["reissuesLeft"], 0);
        let next = shown["nextReissueAt"].as_str().unwrap_or_default().to_owned();
        assert!(next.starts_with("20") && next.ends_with('Z'), "{shown}");

        let orders = product.json(&["cert", "history", DOMAIN])?;
        let orders = orders["items"].as_array().cloned().unwrap_or_default();
        let reissues: Vec<_> =
            orders.iter().filter(|o| o["reason"] == "ORDER_REASON_REISSUE").collect();
        assert_eq!(reissues.len(), 3, "{reissues:?}");
        // Newest first: each began after the one before it had ended.
        for pair in reissues.windows(2) {
            let (later, earlier) = (&pair[0]["createdAt"], &pair[1]["finishedAt"]);
            assert!(later.as_str() >= earlier.as_str(), "{later} before {earlier}");
        }
        Ok(())
    })
}
