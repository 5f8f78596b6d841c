//! The issuer as a whole: embedded bus, SQLite, a control and an edge that do what the test says.

mod busy;
mod calls;
mod ledger;
mod ownership;
mod pebble;
mod records;
mod world;

use hosting::Domain;
use jiff::SignedDuration;
use tonic::Code;
use wire::bus::CertificateDocument;
use wire::envelope::Place;
use wire::issuer::{CertificateStatus, OrderOutcome, OrderReason};
use wire::sealing::{self, RegionKey};

use crate::certificate::{check, key};
use crate::sql::Reason;
use crate::{Config, Kind};
use world::{World, wait_for};

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::test]
async fn a_proven_domain_gets_a_certificate_sealed_to_its_region() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let document = world.certificate("example.com").await;
    assert_eq!(document.domain, "example.com");

    let sealed = document.key.clone().unwrap();
    let opened = sealing::open(&world.region_key.private, "eu-1", "example.com", &sealed).unwrap();
    let key = key(&opened).unwrap();
    let pem = world::to_pem(&document.chain);
    let domain = Domain::parse("example.com").unwrap();
    let chain = check(&pem, &domain, &key, world.clock_now()).unwrap();
    assert_eq!(chain.serial, document.serial);

    let shown = wait_for("it is valid", || async {
        let shown = world.show("acme", "example.com").await.unwrap();
        (shown.status() == CertificateStatus::Valid && shown.position > 0).then_some(shown)
    })
    .await;
    assert_eq!(shown.serial, document.serial);
    assert_eq!(shown.host, "mta-sts.example.com");
    assert_eq!(shown.issuer, "DMARCER local CA");
    assert_eq!((shown.reissues_left, shown.region.as_str()), (3, "eu-1"));
    assert!(shown.renew_at.is_some());
    let orders = world.orders("acme", "example.com").await;
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].reason(), OrderReason::First);
    assert_eq!(orders[0].outcome(), OrderOutcome::Issued);
}

#[tokio::test]
async fn nothing_is_ordered_before_every_live_edge_serves_the_policy() {
    let world = World::local().await;
    world.edges_acknowledge(false);
    world.hosts("example.com", "acme").await;
    world.edge_says("slow", 0, 0).await;
    world.edge_says("quick", 100, 100).await;
    wait_for("the policy was taken", || async {
        let hosted_in = world.core.db.hosted_in("example.com").await.unwrap();
        (!hosted_in.is_empty()).then_some(())
    })
    .await;
    let shown = world.show("acme", "example.com").await.unwrap();
    assert_eq!(shown.status(), CertificateStatus::Issuing);
    assert!(world.orders("acme", "example.com").await.is_empty());
    let shown = wait_for("the slow edge was heard", || async {
        let shown = world.show("acme", "example.com").await.unwrap();
        shown.last_error.contains("doesn't serve").then_some(shown)
    })
    .await;
    assert_eq!(shown.last_error, "an edge of eu-1 doesn't serve example.com yet");

    world.edge_says("slow", 100, 100).await;
    world.certificate("example.com").await;
}

#[tokio::test]
async fn a_removed_name_is_taken_from_its_region_and_its_certificate_is_used_again() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let first = world.certificate("example.com").await;
    world.remove_policy("example.com").await;
    wait_for("the tombstone", || async {
        let document = world.document("certificates-eu-1", "example.com").await?;
        document.payload.is_none().then_some(())
    })
    .await;
    world.publish_policy("example.com").await;
    let again = world.certificate("example.com").await;
    assert_eq!(again.serial, first.serial);
    assert_eq!(world.orders("acme", "example.com").await.len(), 1);
}

#[tokio::test]
async fn an_older_document_does_not_bring_a_removed_name_back() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    world.publish_policy("example.com").await;
    world.remove_policy("example.com").await;
    wait_for("the removal was taken", || async {
        let hosted_in = world.core.db.hosted_in("example.com").await.unwrap();
        hosted_in.is_empty().then_some(())
    })
    .await;
    world.republish_policy_as("example.com", 1).await;
    world.hosts("later.example", "acme").await;
    world.certificate("later.example").await;
    assert!(world.core.db.hosted_in("example.com").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_new_region_key_is_sealed_to_without_a_new_certificate() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let first = world.certificate("example.com").await;
    let next = RegionKey::generate().unwrap();
    world.publish_region(&next.public).await;
    let document = wait_for("it is sealed to the new key", || async {
        let document = world.certificate("example.com").await;
        let sealed = document.key.clone().unwrap();
        let opened = sealing::open(&next.private, "eu-1", "example.com", &sealed);
        opened.is_ok().then_some(document)
    })
    .await;
    assert_eq!(document.serial, first.serial);
}

#[tokio::test]
async fn a_bus_that_lost_everything_is_filled_again_at_the_same_places() {
    let mut world = World::local().await;
    for name in ["a.example", "b.example"] {
        world.hosts(name, "acme").await;
        world.certificate(name).await;
    }
    let before = places(&world).await;
    assert!(before.iter().all(Option::is_some));
    world.restart_on_an_empty_bus().await;
    world.certificate("a.example").await;
    world.certificate("b.example").await;
    assert_eq!(places(&world).await, before);
    assert_eq!(world.orders("acme", "a.example").await.len(), 1);
}

#[tokio::test]
async fn a_document_that_could_not_be_made_comes_after_those_that_passed_it() {
    let world = World::local().await;
    for name in ["a.example", "b.example"] {
        world.hosts(name, "acme").await;
        world.certificate(name).await;
    }
    world.spoil_key("a.example").await;
    let next = RegionKey::generate().unwrap();
    world.publish_region(&next.public).await;
    let sealed_anew = |name: &'static str| {
        let (world, next) = (&world, &next);
        wait_for("it is sealed to the new key", move || async move {
            let sealed = world.certificate(name).await.key.unwrap();
            sealing::open(&next.private, "eu-1", name, &sealed).ok()
        })
    };
    sealed_anew("b.example").await;
    let [before, _] = places(&world).await;
    world.mend_key("a.example").await;
    sealed_anew("a.example").await;
    let [a, b] = places(&world).await.map(Option::unwrap);
    assert!(a.position > b.position && a.revision > before.unwrap().revision, "{a:?} {b:?}");
}

#[tokio::test]
async fn a_document_that_could_not_be_made_for_an_empty_bus_comes_once_it_can() {
    let mut world = World::local().await;
    for name in ["a.example", "b.example"] {
        world.hosts(name, "acme").await;
        world.certificate(name).await;
    }
    world.spoil_key("a.example").await;
    world.restart_on_an_empty_bus().await;
    world.certificate("b.example").await;
    assert_eq!(places(&world).await[0], None);
    world.mend_key("a.example").await;
    world.certificate("a.example").await;
    let [a, b] = places(&world).await.map(Option::unwrap);
    assert!(a.position > b.position, "{a:?} {b:?}");
}

async fn places(world: &World) -> [Option<Place>; 2] {
    let a = world.document("certificates-eu-1", "a.example").await;
    let b = world.document("certificates-eu-1", "b.example").await;
    [a.map(|document| document.place), b.map(|document| document.place)]
}

#[tokio::test]
async fn a_due_certificate_is_renewed_and_uses_up_no_reissue() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let first = world.certificate("example.com").await;
    world.clock.advance(DAY * 50);
    world.edge_breathes().await;
    world.core.renew.wake();
    assert_eq!(world.orders("acme", "example.com").await.len(), 1, "it is not due yet");
    world.clock.advance(DAY * 11);
    world.edge_breathes().await;
    world.core.renew.wake();
    let second = wait_for("its successor", || async {
        let document = world.certificate("example.com").await;
        (document.serial != first.serial).then_some(document)
    })
    .await;
    assert!(second.not_after.unwrap().seconds > first.not_after.unwrap().seconds);
    let orders = world.orders("acme", "example.com").await;
    assert_eq!(orders[0].reason(), OrderReason::Renewal);
    assert_eq!(world.show("acme", "example.com").await.unwrap().reissues_left, 3);
}

#[tokio::test]
async fn a_name_that_moves_is_ordered_for_where_control_says() {
    let world = World::local().await;
    world.publish_other_region("eu-0").await;
    world.publish_policy_in("eu-0", "example.com").await;
    world.hosts("example.com", "acme").await;
    let document = world.certificate("example.com").await;
    // Both regions serve it for a while, the one before too.
    let other = wait_for("the other region has it", || async {
        let opened = world.document("certificates-eu-0", "example.com").await?;
        opened.document::<CertificateDocument>().unwrap()
    })
    .await;
    assert_eq!(other.serial, document.serial);
    assert_ne!(other.key, document.key);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_replaced_at_once() {
    let mut world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let (config, _ca_file) = world::unreachable_ca();
    world.restart_with(config).await;
    let authority = world.core.authority.name().to_owned();
    let served = [("eu-1".to_owned(), u64::MAX)];
    let due = world.core.db.due(&served, &authority, world.clock_now(), 1).await.unwrap();
    assert_eq!(due.len(), 1);
    let due = world.core.db.due(&served, "local", world.clock_now(), 1).await.unwrap();
    assert_eq!(due, []);
    // Until then the old one is shown and served.
    let shown = world.show("acme", "example.com").await.unwrap();
    assert_eq!(shown.status(), CertificateStatus::Valid);
}

#[tokio::test]
async fn an_owner_has_three_reissues_in_seven_days() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let mut serial = world.certificate("example.com").await.serial;
    for left in [2, 1, 0] {
        let answer = world.reissue("acme", "example.com").await.unwrap();
        assert_eq!(answer.order.unwrap().reason(), OrderReason::Reissue);
        serial = wait_for("the new one", || async {
            let shown = world.show("acme", "example.com").await.unwrap();
            let new = shown.serial != serial && shown.status() == CertificateStatus::Valid;
            new.then_some(shown.serial)
        })
        .await;
        assert_eq!(world.show("acme", "example.com").await.unwrap().reissues_left, left);
    }
    let refused = world.reissue("acme", "example.com").await.unwrap_err();
    let told = wire::status::told(&refused);
    assert_eq!((refused.code(), told.reason.as_str()), (Code::ResourceExhausted, "REISSUE_LIMIT"));
    let shown = world.show("acme", "example.com").await.unwrap();
    let next = wire::time::from_wire(&shown.next_reissue_at.unwrap()).unwrap();
    assert_eq!(told.metadata["next_at"], next.to_string());

    // Removing and adding the name again gives no new ones.
    world.remove_policy("example.com").await;
    world.publish_policy("example.com").await;
    assert!(world.reissue("acme", "example.com").await.is_err());

    let week = next.duration_since(world.clock_now());
    world.clock.advance(week - SignedDuration::from_secs(1));
    assert!(world.reissue("acme", "example.com").await.is_err());
    world.clock.advance(SignedDuration::from_secs(2));
    world.edge_breathes().await;
    assert!(world.reissue("acme", "example.com").await.is_ok());
}

#[tokio::test]
async fn a_reissue_for_which_the_ca_was_not_reached_does_not_count() {
    let (config, _ca_file) = world::unreachable_ca();
    let world = World::with(config).await;
    world.hosts("example.com", "acme").await;
    for _ in 0..4 {
        world.reissue("acme", "example.com").await.unwrap();
        let orders = wait_for("it has ended", || async {
            let orders = world.orders("acme", "example.com").await;
            (orders[0].outcome() == OrderOutcome::Failed).then_some(orders)
        })
        .await;
        assert!(orders[0].error.contains("doesn't count"), "{}", orders[0].error);
        world.clock.advance(SignedDuration::from_secs(1));
    }
    let shown = world.show("acme", "example.com").await.unwrap();
    assert_eq!(shown.reissues_left, 3);
    assert_eq!(shown.status(), CertificateStatus::Failed);
    assert!(shown.last_error.contains("can't be reached"), "{}", shown.last_error);
}

#[tokio::test]
async fn documents_that_cannot_be_believed_delay_no_other() {
    let world = World::local().await;
    world.put_junk("policies-eu-1", "example.com").await;
    world.put_junk("regions", "eu-2").await;
    world.put_junk("edges", "edge-2").await;
    world.publish_policy("not a domain").await;
    world.publish_policy("com").await;
    world.hosts("example.net", "acme").await;
    world.certificate("example.net").await;
}

#[tokio::test]
async fn no_key_leaves_the_process_in_clear() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let document: CertificateDocument = world.certificate("example.com").await;
    let sealed = document.key.unwrap();
    let opened = sealing::open(&world.region_key.private, "eu-1", "example.com", &sealed).unwrap();
    // The private scalar is inside the PKCS #8; 24 bytes of it would give it away.
    let secret = &opened[36..60];
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    let envelope = world.core.bus.get("certificates-eu-1", "example.com").await.unwrap().unwrap();
    assert!(!envelope.value.windows(secret.len()).any(|window| window == secret));
}

#[tokio::test]
async fn the_page_after_the_last_is_empty() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let mut serial = world.certificate("example.com").await.serial;
    for _ in 0..2 {
        world.clock.advance(SignedDuration::from_secs(1));
        world.reissue("acme", "example.com").await.unwrap();
        serial = wait_for("the new one", || async {
            let shown = world.show("acme", "example.com").await.unwrap();
            let new = shown.serial != serial && shown.status() == CertificateStatus::Valid;
            new.then_some(shown.serial)
        })
        .await;
    }
    let all = world.orders("acme", "example.com").await;
    let mut token = String::new();
    let mut paged = Vec::new();
    loop {
        let page = world.orders_page("acme", "example.com", 1, &token).await.unwrap();
        assert!(page.items.len() <= 1);
        paged.extend(page.items);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);
    assert_eq!(all.len(), 3);
    for (size, token) in [(-1, ""), (1_001, ""), (0, "x"), (0, "x-y")] {
        let refused = world.orders_page("acme", "example.com", size, token).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{size} {token}");
    }
}

#[tokio::test]
async fn an_order_that_cannot_go_on_waits_and_keeps_no_other_from_it() {
    let world = World::local().await;
    for n in 0..20 {
        // A key that no key-encryption key opens.
        let domain = format!("broken{n}.example");
        world.control.claim(&domain, "acme", true);
        let order = world.begun(&domain, Reason::Renewal).await;
        world.core.renew.wake();
        let order = wait_for("it was postponed", || async {
            let order = world.core.db.order(&order.id).await.unwrap().unwrap();
            (order.outages > 0).then_some(order)
        })
        .await;
        assert!(order.retry_at > world.clock_now());
    }
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
}

#[tokio::test]
async fn the_shortest_local_certificate_is_not_replaced_at_once() {
    let config = Config { kind: Kind::Local, local_validity_seconds: 300, ..Config::default() };
    let world = World::with(config).await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let certificate = world.core.db.certificate("example.com").await.unwrap().unwrap();
    let left = certificate.renew_at.duration_since(world.clock_now()).as_secs();
    assert!((120..=150).contains(&left), "{left}");
}

#[tokio::test]
async fn a_database_whose_key_encryption_key_is_lost_is_not_opened_with_another() {
    let (config, _ca_file) = world::unreachable_ca();
    let world = World::with(config).await;
    let refused = world.start_with_other_kek().await.err().unwrap().to_string();
    assert!(refused.contains("put back the file issuer.kek"), "{refused}");
}

#[tokio::test]
async fn with_a_wrong_key_encryption_key_nothing_starts() {
    let world = World::local().await;
    let refused = world.start_with_other_kek().await.err().unwrap();
    assert!(refused.to_string().contains("issuer.kek"), "{refused}");
}

#[tokio::test]
async fn an_authority_without_challenges_publishes_none() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    assert!(world.document("challenges-eu-1", "account").await.is_none());
}
