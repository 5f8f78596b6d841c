//! The world in which journeys run is as real as they need, before the product is in it.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use dmarcer_tests::knot::Zone;
use dmarcer_tests::{Failure, Internet, Knot, Outcome, Resolver, World, curl, dig, netns, wait};

#[test]
fn a_delegated_name_resolves_from_the_root() -> Outcome {
    netns::inside(|world| {
        let internet = Internet::start(world)?;
        let delegation = dig::ask(World::REGISTRY, "mx.example.test", "A")?;
        assert!(delegation.is_empty(), "the registry answers itself: {delegation:?}");
        check(World::RESOLVER, "mx.example.test", "A", &["192.0.2.25"])?;
        check(World::RESOLVER, "nonce.eu-1.region.test", "A", &["192.0.2.81"])?;
        check(World::RESOLVER, "nonce.us-1.region.test", "AAAA", &["2001:db8::82"])?;

        // A customer's name that leads to the operator crosses two delegations.
        internet.zones.set("mta-sts.example.test", "CNAME", "nonce.eu-1.region.test.")?;
        let chain = ["nonce.eu-1.region.test.", "192.0.2.81"];
        check(World::RESOLVER, "mta-sts.example.test", "A", &chain)
    })
}

#[test]
fn the_next_question_sees_a_change() -> Outcome {
    netns::inside(|world| {
        let internet = Internet::start(world)?;
        let name = "_mta-sts.example.test";
        check(World::RESOLVER, name, "TXT", &[])?;
        for id in ["1", "2", "3"] {
            let value = format!(r#""v=STSv1; id={id}""#);
            internet.zones.set(name, "TXT", &value)?;
            check(World::RESOLVER, name, "TXT", &[&value])?;
        }
        internet.zones.remove(name, "TXT")?;
        check(World::RESOLVER, name, "TXT", &[])
    })
}

#[test]
fn a_new_delegation_is_followed() -> Outcome {
    netns::inside(|world| {
        let internet = Internet::start(world)?;
        let [new_host, _] = World::NAME_SERVERS;
        let name = "_mta-sts.example.test";
        internet.zones.set(name, "NS", "ns.mta-sts.region.test.")?;
        internet.zones.set("ns.mta-sts.region.test", "A", &new_host.to_string())?;
        // Nobody is there yet, which the resolver remembers for a while.
        let early = dig::ask(World::RESOLVER, name, "TXT");
        assert!(early.is_err(), "{early:?}");

        let zone = Zone {
            name: "_mta-sts.example.test.",
            text: r#"
_mta-sts.example.test.  SOA  ns.mta-sts.region.test. hostmaster.region.test. 1 3600 600 86400 1
_mta-sts.example.test.  NS   ns.mta-sts.region.test.
_mta-sts.example.test.  TXT  "v=STSv1; id=1"
"#,
        };
        let _delegated = Knot::start(world, new_host, &[zone])?;
        internet.resolver.forget()?;
        check(World::RESOLVER, name, "TXT", &[r#""v=STSv1; id=1""#])
    })
}

#[test]
fn the_authority_answers_those_who_trust_it_and_no_others() -> Outcome {
    netns::inside(|world| {
        let internet = Internet::start(world)?;
        let authority = &internet.authority;
        let directory = curl::fetch(&authority.directory(), authority.ca_file())?;
        assert!(directory.contains("newOrder"), "{directory}");
        let root = fs::read_to_string(authority.issuer_file())?;
        assert!(root.starts_with("-----BEGIN CERTIFICATE-----"), "{root}");
        let mistrusted = curl::fetch(&authority.directory(), authority.issuer_file());
        let refusal = mistrusted.err().map(|failure| failure.to_string()).unwrap_or_default();
        assert!(refusal.contains("SSL certificate problem"), "{refusal}");
        Ok(())
    })
}

#[test]
fn a_sender_finds_no_policy_where_none_is_announced() -> Outcome {
    netns::inside(|world| {
        let internet = Internet::start(world)?;
        let sender = Resolver::start(world, internet.authority.issuer_file())?;
        assert_eq!(sender.query("example.test")?, "(<STSFetchResult.NONE: 0>, None)");
        assert_eq!(sender.lookup("example.test")?, "NOTFOUND ");
        Ok(())
    })
}

#[test]
fn a_sender_reads_the_record_and_looks_for_the_policy() -> Outcome {
    netns::inside(|world| {
        let internet = Internet::start(world)?;
        let sender = Resolver::start(world, internet.authority.issuer_file())?;
        internet.zones.set("_mta-sts.example.test", "TXT", r#""v=STSv1; id=1""#)?;
        internet.zones.set("mta-sts.example.test", "CNAME", "nonce.eu-1.region.test.")?;
        assert_eq!(sender.query("example.test")?, "(<STSFetchResult.FETCH_ERROR: 2>, None)");
        assert_eq!(sender.lookup("example.test")?, "NOTFOUND ");
        wait::until(Duration::from_secs(5), "the sender to say what it missed", || {
            let log = sender.log()?;
            match log.contains("mta-sts.example.test:443") {
                true => Ok(()),
                false => Err(Failure::new(log)),
            }
        })
    })
}

/// Asks `server`, and wants exactly these records.
fn check(server: IpAddr, name: &str, kind: &str, expected: &[&str]) -> Outcome {
    let found = dig::ask(server, name, kind)?;
    assert_eq!(found, expected, "{name} {kind}");
    Ok(())
}
