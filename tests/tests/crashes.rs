//! kill -9 at any moment: what was acknowledged is there, and what was served is served.

use std::time::{Duration, Instant};

use dmarcer_tests::{Failure, Internet, Outcome, Product, World, curl, netns, wait};

const DOMAIN: &str = "example.test";
const URL: &str = "https://mta-sts.example.test/.well-known/mta-sts.txt";
const SOON: Duration = Duration::from_secs(60);
/// From the start of the process to the first answer.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
const CHANGES: u32 = 50;

fn host(product: &Product, internet: &Internet) -> Outcome {
    product.json(&["domain", "add", DOMAIN])?;
    let domain = product.json(&["hosting", "activate", DOMAIN])?;
    let target = domain["hosting"]["cnameTarget"].as_str().unwrap_or_default();
    internet.zones.set("mta-sts.example.test", "CNAME", &format!("{target}."))?;
    wait::until(SOON, "the policy to be announced", || {
        let policy = product.json(&["policy", "show", DOMAIN]).map_err(|e| e.to_string())?;
        match policy["policyId"].as_str() {
            Some(id) if !id.is_empty() => Ok(()),
            _ => Err(policy.to_string()),
        }
    })
}

fn max_age(product: &Product) -> Outcome<u64> {
    let policy = product.json(&["policy", "show", DOMAIN])?;
    let seconds = policy["maxAgeSeconds"].as_u64();
    seconds.ok_or_else(|| Failure::new(format!("no max_age in {policy}")))
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_moment() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let mut product = Product::start(world, &internet)?;
        host(&product, &internet)?;
        for change in 1..=CHANGES {
            let seconds = 86_400 + u64::from(change);
            let wanted = seconds.to_string();
            let before = max_age(&product)?;
            let mut command = product.command(&["policy", "set", DOMAIN, "--max-age", &wanted])?;
            let mut child = command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()?;
            // Each fifth change is cut off at a random moment: before, in or after the commit.
            if change % 5 == 0 {
                let after = Duration::from_millis(rand::random_range(0..150));
                let moment = Instant::now() + after;
                wait::until(SOON, "the moment", || {
                    if Instant::now() >= moment { Ok(()) } else { Err("it is to come") }
                })?;
                product.kill();
                let acknowledged = child.wait()?.success();
                product.launch()?;
                let found = max_age(&product)?;
                if acknowledged {
                    assert_eq!(found, seconds, "acknowledged, and lost: killed after {after:?}");
                } else {
                    let whole = found == seconds || found == before;
                    assert!(whole, "half a change: {found}, killed after {after:?}");
                }
            } else if !child.wait()?.success() {
                return Err(Failure::new(format!("change {change} was refused")));
            }
        }
        // The edge ends with what the database holds.
        let expected = product.json(&["policy", "show", DOMAIN])?["body"].clone();
        wait::until(SOON, "the edge to serve the newest policy", || {
            let served = curl::fetch(URL, internet.authority.issuer_file());
            let served = served.map_err(|failure| failure.to_string())?;
            if expected == served { Ok(()) } else { Err(served) }
        })
    })
}

#[test]
fn the_policy_is_served_within_a_second_of_a_start_with_dns_and_ca_gone() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let mut product = Product::start(world, &internet)?;
        host(&product, &internet)?;
        let issuer = internet.authority.issuer_file().to_owned();
        let kept = world.directory("kept")?.join("issuer.pem");
        std::fs::copy(&issuer, &kept)?;
        let before = curl::fetch(URL, &kept)?;
        product.kill();
        drop(internet);

        product.launch_unready()?;
        let started = Instant::now();
        let served =
            wait::until(SOON, "the policy", || curl::fetch_at(URL, World::EU_EDGE[0], &kept))?;
        let took = started.elapsed();
        assert_eq!(served, before);
        assert!(took <= SERVED_WITHIN, "it took {took:?}");
        Ok(())
    })
}
