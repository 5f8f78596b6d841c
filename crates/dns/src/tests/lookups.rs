//! Looks, proofs and MX against misbehaving servers.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{MX, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use hosting::Domain;
use tokio::time::{Duration, Instant, sleep};

use super::name_server::{NameServer, Quirk, address, start};
use crate::answer::Failure;
use crate::config::Config;
use crate::expected::{Expected, Kind};
use crate::inquiry::Lookup;
use crate::judge::{Outcome, Status};
use crate::look::{Looked, look};
use crate::mx::{self, Mx};
use crate::proof::observe;

const TARGET: &str = "a1b2c3d4e5f6a7b8.eu-1.region.test";

/// What the resolver knows: where the zones are.
const INTERNET: &str = "
    example.test SOA ns1.example.test
    example.test NS ns1.example.test
    example.test NS ns2.example.test
    ns1.example.test A 127.0.0.2
    ns2.example.test A 127.0.0.3
    a1b2c3d4e5f6a7b8.eu-1.region.test A 192.0.2.81
    test SOA ns.test
    test NS ns.test
    ns.test A 127.0.0.2
";

/// A zone in which everything is as wanted.
const GOOD: &str = "
    example.test SOA ns1.example.test
    example.test NS ns1.example.test
    example.test TXT v=spf1 -all
    mta-sts.example.test CNAME a1b2c3d4e5f6a7b8.eu-1.region.test
    _mta-sts.example.test TXT v=STSv1; id=abc123;
    _smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:reports@region.test
";

struct World {
    lookup: Lookup,
    resolver: NameServer,
    zone: [NameServer; 2],
}

async fn world() -> World {
    let (port, [resolver, first, second]) = start::<3>().await;
    let resolvers = vec![address(1, port)];
    let config =
        Config { authoritative_port: port, resolvers: resolvers.clone(), ..Config::default() };
    let world = World { lookup: Lookup::new(config, resolvers), resolver, zone: [first, second] };
    world.resolver.set(INTERNET);
    world.set(GOOD);
    world
}

impl World {
    fn set(&self, zone: &str) {
        for server in &self.zone {
            server.set(zone);
        }
    }

    fn misbehave(&self, quirk: Quirk) {
        for server in &self.zone {
            server.misbehave(quirk);
        }
    }

    async fn look(&self) -> Looked {
        look(&self.lookup, &expected()).await
    }

    /// The look as text: `LIVE, MISMATCH OLD_ID, ? TIMEOUT`, CNAME first.
    async fn summary(&self) -> String {
        let looked = self.look().await;
        let outcomes = looked.outcomes.iter().map(|(_, outcome)| summary(outcome));
        outcomes.collect::<Vec<_>>().join(", ")
    }
}

fn expected() -> Expected {
    Expected::from_document(wire::bus::RecordsDocument {
        claim_id: "claim-1".into(),
        domain: "example.test".into(),
        region_host: "eu-1.region.test".into(),
        nonce: "a1b2c3d4e5f6a7b8".into(),
        policy_id: "abc123".into(),
        reports_uri: "mailto:reports@region.test".into(),
        ..Default::default()
    })
    .unwrap()
}

fn summary(outcome: &Outcome) -> String {
    let (status, hint) = match outcome {
        Outcome::Unknown { hint, .. } => ("?", Some(hint)),
        Outcome::Known(verdict) => {
            let status = match verdict.status {
                Status::Live => "LIVE",
                Status::Mismatch => "MISMATCH",
                Status::NotPublished => "NOT_PUBLISHED",
                Status::RegionIntakeNotConfigured => "REGION_INTAKE_NOT_CONFIGURED",
            };
            (status, verdict.hint.as_ref())
        }
    };
    hint.map_or(status.to_owned(), |hint| format!("{status} {}", hint.code))
}

#[tokio::test]
async fn a_zone_in_order_is_live_and_proves_the_claim() {
    let world = world().await;
    // The resolver knows nothing of these names: a remark, as its memory will pass.
    assert_eq!(
        world.summary().await,
        "LIVE NEGATIVE_CACHE, LIVE NEGATIVE_CACHE, LIVE NEGATIVE_CACHE"
    );
    world.resolver.set(&format!("{INTERNET}{GOOD}"));
    assert_eq!(world.summary().await, "LIVE, LIVE, LIVE");
    let looked = world.look().await;
    assert!(looked.proof_seen && !looked.sts_absent);
    assert_eq!(looked.found_policy_id.as_deref(), Some("abc123"));
}

#[tokio::test]
async fn servers_that_answer_badly_are_no_status() {
    let world = world().await;
    let all = |code: &str| [code, code, code].join(", ");
    for (quirk, code) in [
        (Quirk::Code(ResponseCode::ServFail), "? SERVFAIL"),
        (Quirk::Code(ResponseCode::Refused), "? REFUSED"),
        (Quirk::Code(ResponseCode::NotImp), "? SERVFAIL"),
        (Quirk::Code(ResponseCode::YXDomain), "? SERVFAIL"),
        (Quirk::Lame, "? LAME_DELEGATION"),
        (Quirk::RefersUp, "? LAME_DELEGATION"),
        (Quirk::Garbage, "? SERVFAIL"),
        (Quirk::CutWithoutTcp, "? TIMEOUT"),
    ] {
        world.misbehave(quirk);
        assert_eq!(world.summary().await, all(code), "{quirk:?}");
    }
}

#[tokio::test]
async fn silence_and_forgery_end_in_a_timeout_and_within_ten_seconds() {
    for quirk in [Quirk::Silent, Quirk::WrongId, Quirk::WrongQuestion]
        .map(|quirk| async move {
            let world = world().await;
            world.misbehave(quirk);
            let began = Instant::now();
            assert_eq!(world.summary().await, "? TIMEOUT, ? TIMEOUT, ? TIMEOUT", "{quirk:?}");
            assert!(began.elapsed().as_secs() < 10, "{quirk:?}");
        })
        .map(tokio::spawn)
    {
        quirk.await.unwrap();
    }
}

#[tokio::test]
async fn harmless_quirks_change_nothing() {
    let world = world().await;
    world.resolver.set(&format!("{INTERNET}{GOOD}"));
    for quirk in [Quirk::ForgedFirst, Quirk::NoEdns, Quirk::Poison] {
        world.misbehave(quirk);
        assert_eq!(world.summary().await, "LIVE, LIVE, LIVE", "{quirk:?}");
    }
}

#[tokio::test]
async fn records_beside_the_answer_are_not_believed() {
    let world = world().await;
    world.set("example.test SOA ns1.example.test\nexample.test TXT v=spf1 -all");
    world.misbehave(Quirk::Poison);
    assert_eq!(world.summary().await, "NOT_PUBLISHED, NOT_PUBLISHED, NOT_PUBLISHED");
    assert!(world.look().await.sts_absent);
}

#[tokio::test]
async fn one_server_with_an_old_answer_is_a_disagreement() {
    let world = world().await;
    world.zone[1].set(&GOOD.replace("abc123", "older"));
    let looked = world.look().await;
    let Outcome::Known(verdict) = &looked.outcomes[1].1 else { panic!("{looked:?}") };
    let hint = verdict.hint.clone().unwrap();
    assert_eq!((verdict.status, hint.code.as_str()), (Status::Mismatch, "NAME_SERVERS_DISAGREE"));
    assert!(hint.sentence.contains("ns2.example.test (127.0.0.3)"), "{}", hint.sentence);
    assert_eq!(verdict.found, "v=STSv1; id=older;");
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_over_tcp() {
    let world = world().await;
    for server in &world.zone {
        let piece = "x".repeat(255);
        server.add("_mta-sts.example.test", RData::TXT(TXT::new(vec![piece; 235])));
    }
    let looked = world.look().await;
    let Outcome::Known(verdict) = &looked.outcomes[1].1 else { panic!("{looked:?}") };
    assert_eq!(verdict.status, Status::Live);
    assert!(verdict.found.len() <= 1000);
}

#[tokio::test]
async fn strings_of_one_record_are_joined_without_a_space() {
    let world = world().await;
    world.set("example.test SOA ns1.example.test");
    for server in &world.zone {
        let pieces = vec!["v=STS".into(), "v1; id=ab".into(), "c123;".into()];
        server.add("_mta-sts.example.test", RData::TXT(TXT::new(pieces)));
    }
    let outcome = &world.look().await.outcomes[1].1;
    assert!(summary(outcome).starts_with("LIVE"), "{outcome:?}");
}

#[tokio::test]
async fn aliases_are_followed_out_of_the_zone_but_not_for_ever() {
    let world = world().await;
    let chain = |hops: usize| {
        let links = (1..hops).map(|n| format!("h{n}.other.test CNAME h{}.other.test\n", n + 1));
        let links: String = links.collect();
        format!("{INTERNET}{links}h{hops}.other.test TXT v=STSv1; id=abc123;\n")
    };
    world.set(
        "example.test SOA ns1.example.test
        _mta-sts.example.test CNAME h1.other.test
        mta-sts.example.test CNAME other.test
        _smtp._tls.example.test CNAME _smtp._tls.example.test",
    );
    for (hops, wanted) in [(1, "LIVE"), (8, "LIVE"), (16, "MISMATCH CNAME_CHAIN_LONG")] {
        world.resolver.set(&format!("{}other.test CNAME {TARGET}", chain(hops)));
        let proven = Expected { proven: true, ..expected() };
        let looked = look(&world.lookup, &proven).await;
        let found = summary(&looked.outcomes[1].1);
        assert!(found.starts_with(wanted), "{hops}: {found}");
        assert!(summary(&looked.outcomes[0].1).starts_with("LIVE"), "{hops}");
        assert_eq!(summary(&looked.outcomes[2].1), "MISMATCH CNAME_LOOP");
    }
    let circle = "h1.other.test CNAME h2.other.test\nh2.other.test CNAME h1.other.test";
    world.resolver.set(&format!("{INTERNET}{circle}"));
    assert_eq!(summary(&world.look().await.outcomes[1].1), "MISMATCH CNAME_LOOP");
}

#[tokio::test]
async fn records_in_the_wrong_place_are_found_there() {
    let world = world().await;
    world.set(
        "example.test SOA ns1.example.test
        example.test TXT v=STSv1; id=abc123;
        mta-sts.example.test.example.test CNAME x.test
        _smtp._tls.example.test.example.test TXT v=TLSRPTv1; rua=x:y",
    );
    let wanted = "NOT_PUBLISHED ZONE_APPENDED_TWICE, NOT_PUBLISHED AT_APEX, \
                  NOT_PUBLISHED ZONE_APPENDED_TWICE";
    assert_eq!(world.summary().await, wanted);
}

#[tokio::test]
async fn a_domain_that_is_gone_is_said_to_be() {
    let world = world().await;
    world.resolver.set("test SOA ns.test\ntest NS ns.test\nns.test A 127.0.0.2");
    world.zone[0].set("test SOA ns.test\ntest NS ns.test");
    let gone = "NOT_PUBLISHED DOMAIN_GONE";
    assert_eq!(world.summary().await, [gone, gone, gone].join(", "));
}

#[tokio::test]
async fn a_name_in_a_zone_of_its_own_is_asked_for_there() {
    let world = world().await;
    world.zone[0].set(&GOOD.replace(
        "_mta-sts.example.test TXT v=STSv1; id=abc123;",
        "_mta-sts.example.test NS ns2.example.test",
    ));
    // The second server holds both zones; the first refers to it.
    let outcome = &world.look().await.outcomes[1].1;
    assert!(summary(outcome).starts_with("LIVE"), "{outcome:?}");
}

#[tokio::test]
async fn a_name_server_that_does_not_exist_is_passed_over() {
    let world = world().await;
    world.resolver.set(&format!("{INTERNET}{GOOD}example.test NS gone.example.test"));
    assert_eq!(world.summary().await, "LIVE, LIVE, LIVE");
    let domain = Domain::parse("example.test").unwrap();
    assert_eq!(observe(&world.lookup, &domain).await.unwrap().len(), 2);
}

#[tokio::test]
async fn in_a_closed_network_without_ns_records_the_resolver_is_the_name_server() {
    let world = world().await;
    world.resolver.set(&GOOD.replace("example.test NS ns1.example.test", ""));
    assert_eq!(world.summary().await, "LIVE, LIVE, LIVE");
}

#[tokio::test]
async fn a_zone_whose_dnssec_is_broken_is_not_called_live() {
    let world = world().await;
    world.resolver.misbehave(Quirk::Bogus);
    let bogus = "? DNSSEC_BOGUS";
    assert_eq!(world.summary().await, [bogus, bogus, bogus].join(", "));
}

#[tokio::test]
async fn a_proof_is_observed_at_every_name_server() {
    let world = world().await;
    let domain = Domain::parse("example.test").unwrap();
    world.zone[1].set(
        "example.test SOA ns1.example.test
        _dmarcer.example.test TXT dmarcer=a1b2c3d4e5f6a7b8
        mta-sts.example.test A 192.0.2.81",
    );
    let observed = observe(&world.lookup, &domain).await.unwrap();
    let found: Vec<_> = observed.iter().map(|o| (o.server.as_str(), o.found.clone())).collect();
    let txt = vec!["dmarcer=a1b2c3d4e5f6a7b8".to_owned()];
    assert_eq!(
        found,
        [
            ("ns1.example.test (127.0.0.2)", Ok((TARGET.to_owned(), Vec::new()))),
            ("ns2.example.test (127.0.0.3)", Ok((String::new(), txt))),
        ]
    );

    world.zone[0].misbehave(Quirk::Code(ResponseCode::Refused));
    let observed = observe(&world.lookup, &domain).await.unwrap();
    assert_eq!(observed[0].found, Err(Failure::Refused));

    world.resolver.misbehave(Quirk::Code(ResponseCode::ServFail));
    assert!(observe(&world.lookup, &domain).await.is_err());
}

#[tokio::test]
async fn a_proof_behind_an_alias_is_none() {
    let world = world().await;
    world.set(
        "example.test SOA ns1.example.test
        _dmarcer.example.test CNAME x.example.test
        x.example.test TXT dmarcer=a1b2c3d4e5f6a7b8",
    );
    let domain = Domain::parse("example.test").unwrap();
    let observed = observe(&world.lookup, &domain).await.unwrap();
    assert!(observed.iter().all(|o| o.found == Ok((String::new(), Vec::new()))), "{observed:?}");
}

#[tokio::test]
async fn mx_hosts_are_given_as_they_stand_in_dns() {
    let world = world().await;
    let domain = Domain::parse("example.test").unwrap();
    let look_up = || mx::look_up(&world.lookup, &domain);
    assert_eq!(look_up().await, Ok(Mx::None));

    world.resolver.set("example.test MX 20 B.example.test\nexample.test MX 10 a.example.test");
    let strange = Name::from_labels(vec![b"x\r\n y:z\xff".as_slice(), b"test"]).unwrap();
    world.resolver.add("example.test", RData::MX(MX::new(30, strange)));
    let hosts =
        [(10, "a.example.test"), (20, "b.example.test"), (30, r"x\013\010\032y\058z\255.test")];
    let hosts = hosts.map(|(preference, host)| (preference, host.to_owned())).to_vec();
    assert_eq!(look_up().await, Ok(Mx::Hosts(hosts)));

    world.resolver.set("example.test MX 0 .");
    assert_eq!(look_up().await, Ok(Mx::Null));
    world.resolver.set("test SOA ns.test");
    assert_eq!(look_up().await, Err("example.test does not exist in DNS".to_owned()));
    for quirk in [Quirk::Code(ResponseCode::ServFail), Quirk::RefersUp, Quirk::Garbage] {
        world.resolver.misbehave(quirk);
        assert!(look_up().await.is_err(), "{quirk:?}");
    }
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_fails() {
    let (port, [broken, good]) = start::<2>().await;
    broken.misbehave(Quirk::Code(ResponseCode::Refused));
    good.set("example.test MX 10 mx.example.test");
    let resolvers = vec![address(1, port), address(2, port)];
    let lookup = Lookup::new(Config::default(), resolvers);
    let found = mx::look_up(&lookup, &Domain::parse("example.test").unwrap()).await;
    assert_eq!(found, Ok(Mx::Hosts(vec![(10, "mx.example.test".into())])));
}

#[tokio::test]
async fn what_has_no_mailbox_is_not_asked_for() {
    let world = world().await;
    let expected = Expected { reports_uri: None, ..expected() };
    let looked = look(&world.lookup, &expected).await;
    assert_eq!(looked.outcomes[2].0, Kind::TlsRpt);
    assert_eq!(summary(&looked.outcomes[2].1), "REGION_INTAKE_NOT_CONFIGURED");
}

#[tokio::test]
async fn a_slow_server_fails_alone_and_what_it_says_in_five_seconds_counts() {
    let world = world().await;
    let flat = GOOD.replace(&format!("CNAME {TARGET}"), "A 203.0.113.9");
    world.zone[0].set(&flat);
    // Too slow for one question after the other, not for one.
    world.zone[1].set(&flat.replace("abc123", "older"));
    world.zone[1].misbehave(Quirk::Slow(Duration::from_millis(4_500)));
    let looked = world.look().await;
    assert_eq!(summary(&looked.outcomes[0].1), "MISMATCH A_RECORD");
    assert_eq!(summary(&looked.outcomes[1].1), "MISMATCH NAME_SERVERS_DISAGREE");
}

#[tokio::test]
async fn too_many_name_servers_are_refused_before_anybody_is_asked_for_them() {
    let world = world().await;
    let servers: String =
        (1..=33).map(|n| format!("example.test NS ns{n}.victim.test\n")).collect();
    world.resolver.set(&format!("test SOA ns.test\n{servers}"));
    let unknown = "? NO_NAME_SERVERS";
    assert_eq!(world.summary().await, [unknown, unknown, unknown].join(", "));
    let domain = Domain::parse("example.test").unwrap();
    assert_eq!(observe(&world.lookup, &domain).await, Err(Failure::TooManyServers(33)));
    assert!(world.resolver.asked() < 10, "{}", world.resolver.asked());
}

#[tokio::test]
async fn servers_that_refer_to_ever_more_are_asked_so_many_questions_and_prove_nothing() {
    let world = world().await;
    let each = |line: fn(usize) -> String| (1..=32).map(line).collect::<String>();
    let addresses = each(|n| format!("a{n}.test A 127.0.0.2\nb{n}.test A 127.0.0.3\n"));
    let servers = each(|n| format!("example.test NS a{n}.test\n"));
    world.resolver.set(&format!("test SOA ns.test\n{servers}{addresses}"));
    let below = each(|n| {
        format!("_dmarcer.example.test NS b{n}.test\nmta-sts.example.test NS b{n}.test\n")
    });
    world.zone[0].set(&format!("example.test SOA ns1.example.test\n{below}"));
    world.zone[1].set(
        "_dmarcer.example.test SOA b1.test
        _dmarcer.example.test TXT dmarcer=a1b2c3d4e5f6a7b8
        mta-sts.example.test SOA b1.test
        mta-sts.example.test A 192.0.2.81",
    );
    let domain = Domain::parse("example.test").unwrap();
    let observed = observe(&world.lookup, &domain).await.unwrap();
    assert!(observed.iter().any(|o| o.found == Err(Failure::TooManyQuestions)), "{observed:?}");
    let asked = world.resolver.asked() + world.zone[0].asked() + world.zone[1].asked();
    assert!(asked <= 300, "{asked}");
}

#[tokio::test]
async fn a_zone_of_silent_servers_keeps_nobody_else_waiting() {
    let (port, [resolver, silent, good]) = start::<3>().await;
    let servers: String = (1..=32)
        .map(|n| format!("silent.test NS s{n}.silent.test\ns{n}.silent.test A 127.0.0.2\n"))
        .collect();
    resolver.set(&format!(
        "test SOA ns.test
        silent.test SOA s1.silent.test
        {servers}
        example.test NS ns.example.test
        ns.example.test A 127.0.0.3
        {GOOD}"
    ));
    silent.misbehave(Quirk::Silent);
    good.set(GOOD);
    let resolvers = vec![address(1, port)];
    let config =
        Config { authoritative_port: port, resolvers: resolvers.clone(), ..Config::default() };
    let lookup = Lookup::new(config, resolvers);
    let domain = Domain::parse("silent.test").unwrap();
    let hostile = Expected { domain, ..expected() };
    let later = async {
        while silent.asked() < 16 {
            sleep(Duration::from_millis(5)).await;
        }
        let began = Instant::now();
        let looked = look(&lookup, &expected()).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        looked
    };
    tokio::select! {
        first = look(&lookup, &hostile) => panic!("{first:?}"),
        looked = later => assert!(looked.proof_seen, "{looked:?}"),
    }
}

#[tokio::test]
async fn a_name_server_whose_addresses_are_not_all_known_proves_nothing() {
    let world = world().await;
    let domain = Domain::parse("example.test").unwrap();
    let failures = async || {
        let observed = observe(&world.lookup, &domain).await.unwrap();
        let failed = observed.into_iter().filter(|o| o.found.is_err());
        failed.map(|o| o.server).collect::<Vec<_>>()
    };
    for family in [RecordType::A, RecordType::AAAA] {
        world.resolver.misbehave(Quirk::FailsFor(family));
        assert_eq!(failures().await, ["ns1.example.test", "ns2.example.test"], "{family}");
    }
    world.resolver.misbehave(Quirk::None);
    world.resolver.set(&format!(
        "{INTERNET}{GOOD}example.test NS gone.example.test
        example.test NS circle.example.test
        circle.example.test CNAME circle.example.test"
    ));
    assert_eq!(failures().await, ["circle.example.test"]);
}

#[tokio::test]
async fn a_referral_sideways_or_up_is_a_lame_server() {
    let world = world().await;
    world.resolver.set(&format!("{INTERNET}{GOOD}"));
    for elsewhere in ["example.test", "test", "other.test"] {
        world.zone[0].set(&format!("{elsewhere} NS ns2.example.test"));
        let lame = match elsewhere {
            // It has nothing to refer to for our names, so it answers.
            "other.test" => "MISMATCH NAME_SERVERS_DISAGREE",
            _ => "LIVE LAME_DELEGATION",
        };
        assert_eq!(world.summary().await, [lame, lame, lame].join(", "), "{elsewhere}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_no_mx_only_with_its_soa_or_from_two_resolvers() {
    let (port, [first, second]) = start::<2>().await;
    let domain = Domain::parse("example.test").unwrap();
    let mx = async |resolvers: Vec<u8>| {
        let resolvers = resolvers.into_iter().map(|nth| address(nth, port)).collect();
        mx::look_up(&Lookup::new(Config::default(), resolvers), &domain).await
    };
    for server in [&first, &second] {
        server.set("example.test SOA ns.example.test");
    }
    first.misbehave(Quirk::Bare);
    assert!(mx(vec![1]).await.is_err());
    assert_eq!(mx(vec![2]).await, Ok(Mx::None));
    assert_eq!(mx(vec![1, 2]).await, Ok(Mx::None));
    second.set("example.test MX 10 mx.example.test");
    assert_eq!(mx(vec![1, 2]).await, Ok(Mx::Hosts(vec![(10, "mx.example.test".into())])));
    second.misbehave(Quirk::Bare);
    assert_eq!(mx(vec![1, 2]).await, Ok(Mx::None));
    second.misbehave(Quirk::Code(ResponseCode::ServFail));
    assert!(mx(vec![1, 2]).await.is_err());
}
