//! What the database promises of orders, whatever asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use audit::{AuditKey, Filter};
use hosting::Refusal;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use service::caller::{Call, Caller, IdempotencyKey, Role};
use service::clock::SetClock;

use super::world::store_url;
use crate::certificate::Chain;
use crate::schedule::{FAILED_VALIDATIONS, ORDERS_PER_ACCOUNT};
use crate::sql::{Db, End, Membership, NewOrder, Order, OrderStep, Policy, Reason, Reissue};

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

async fn open() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open_in(&folder).await, folder)
}

async fn open_in(folder: &tempfile::TempDir) -> Db {
    let key = AuditKey::new(&[9; 32]).unwrap();
    Db::open(&store_url(folder.path()).await, &key, SetClock::at(now())).await.unwrap()
}

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn new_order(domain: &str, reason: Reason) -> NewOrder {
    let id: u128 = rand::rng().random();
    NewOrder {
        id: format!("{id:032x}"),
        domain: domain.into(),
        region: "eu-1".into(),
        workspace: "acme".into(),
        reason,
        sealed_key: vec![1],
        asked_by: None,
        key_hash: None,
    }
}

fn owner() -> Caller {
    Caller::new("person:alice", "acme", Role::DomainManager)
}

/// With an idempotency key, for one and the same request.
fn call_with_key(key: u8) -> Call {
    let once = IdempotencyKey { key_hash: [key; 32], request_hash: [1; 32], sealing: [1; 32] };
    Call { once: Some(once), ..Call::from_here(owner()) }
}

async fn reissue(db: &Db, call: &Call, at: Timestamp) -> Reissue {
    let new = NewOrder {
        asked_by: Some(owner().id),
        key_hash: call.once.as_ref().map(|once| once.key_hash),
        ..new_order("example.com", Reason::Reissue)
    };
    db.begin_reissue(&new, &owner(), call, at).await.unwrap()
}

/// What the owner's chain holds, once it is seen to be whole, oldest first.
async fn actions(db: &Db) -> Vec<String> {
    let chain = db.audit.verify("acme").await.unwrap();
    assert!(chain.is_whole(), "{:?}", chain.problems);
    let entries = db.audit.list("acme", &Filter::default(), None, 1_000).await.unwrap();
    entries.into_iter().rev().map(|entry| entry.action).collect()
}

async fn begin(db: &Db, domain: &str, reason: Reason, at: Timestamp) -> Result<Order, Refusal> {
    let new = new_order(domain, reason);
    if reason == Reason::Reissue {
        let call = Call::from_here(owner());
        match db.begin_reissue(&new, &owner(), &call, at).await.unwrap() {
            Reissue::Order(id) => assert_eq!(id, new.id),
            Reissue::Refused(refusal) => return Err(refusal),
            Reissue::KeyReused => panic!("there is no key"),
        }
    } else {
        db.begin(&new, at).await.unwrap()?;
    }
    Ok(db.order(&new.id).await.unwrap().unwrap())
}

async fn ask(db: &Db, order: &Order, at: Timestamp) -> Result<Order, Timestamp> {
    let asked = db.ask(order, "ca", "account", at).await.unwrap();
    asked.map_err(|too_many| too_many.until())
}

async fn issue(db: &Db, order: &Order, at: Timestamp) {
    let chain = Chain {
        pem: String::new(),
        serial: order.id.clone(),
        issuer: String::new(),
        not_before: at,
        not_after: at + WEEK,
    };
    db.issued(order, "ca", &chain, at + WEEK, at).await.unwrap();
}

fn end(validation_failed: bool) -> End {
    End { why: "it failed".into(), validation_failed, retry: None }
}

/// Asks, and the CA makes no order.
async fn fail(db: &Db, order: &Order, validation_failed: bool, at: Timestamp) {
    let asked = ask(db, order, at).await.unwrap();
    db.failed(&asked, &end(validation_failed), at).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_at_once_never_give_more_than_three_nor_two_at_once() {
    let (db, _folder) = open().await;
    let under_way = Arc::new(AtomicUsize::new(0));
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (db, under_way) = (db.clone(), under_way.clone());
            tokio::spawn(async move {
                // As a person does: again and again until told to stop.
                for _ in 0..20 {
                    match begin(&db, "example.com", Reason::Reissue, now()).await {
                        Ok(order) => {
                            assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0);
                            let order = ask(&db, &order, now()).await.unwrap();
                            tokio::task::yield_now().await;
                            under_way.fetch_sub(1, Ordering::SeqCst);
                            issue(&db, &order, now()).await;
                            return 1;
                        }
                        Err(Refusal::ReissueInFlight) => tokio::task::yield_now().await,
                        Err(Refusal::ReissueLimit { next_at }) => {
                            assert_eq!(next_at, now() + WEEK);
                            return 0;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                0
            })
        })
        .collect();
    let mut given = 0;
    for request in requests {
        given += request.await.unwrap();
    }
    assert!(given <= 3, "{given}");
    // Whoever comes later gets what is left of the three, and no more.
    while let Ok(order) = begin(&db, "example.com", Reason::Reissue, now()).await {
        issue(&db, &order, now()).await;
        given += 1;
    }
    assert_eq!(given, 3);
    // Each was written down with its outcome, and none of the refused ones.
    assert_eq!(actions(&db).await, ["certificate.reissue", "certificate.issued"].repeat(3));
    assert!(begin(&db, "example.net", Reason::Reissue, now()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_asked_with_at_once_gives_one_order() {
    let (db, _folder) = open().await;
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { reissue(&db, &call_with_key(1), now()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.unwrap());
    }
    let order = db.in_flight("example.com").await.unwrap().unwrap();
    assert_eq!(answers, vec![Reissue::Order(order.id); 20]);
    assert_eq!(actions(&db).await, ["certificate.reissue"]);
    assert_eq!(db.reissues("example.com").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_orders_at_once_make_one_whole_chain() {
    const NAMES: usize = 20;
    let (db, _folder) = open().await;
    let owners: Vec<_> = (0..NAMES)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                for reason in [Reason::First, Reason::Reissue] {
                    let order = begin(&db, &format!("n{n}.example"), reason, now()).await.unwrap();
                    issue(&db, &order, now()).await;
                }
            })
        })
        .collect();
    for owner in owners {
        owner.await.unwrap();
    }
    let actions = actions(&db).await;
    let issued = actions.iter().filter(|action| *action == "certificate.issued").count();
    assert_eq!((actions.len(), issued), (3 * NAMES, 2 * NAMES));
}

#[tokio::test]
async fn a_key_finds_its_own_order_again_whatever_came_after() {
    let (db, _folder) = open().await;
    let mut asked = Vec::new();
    for key in 1..=3 {
        let Reissue::Order(id) = reissue(&db, &call_with_key(key), now()).await else {
            panic!("there are three");
        };
        let order = db.order(&id).await.unwrap().unwrap();
        let order = ask(&db, &order, now()).await.unwrap();
        issue(&db, &order, now()).await;
        asked.push(id);
    }
    // The rule would refuse a fourth; but these are none.
    for (key, id) in (1..=3).zip(asked) {
        assert_eq!(reissue(&db, &call_with_key(key), now()).await, Reissue::Order(id));
    }
    assert_eq!(db.reissues("example.com").await.unwrap().len(), 3);
    assert_eq!(actions(&db).await.len(), 6);

    let refused = reissue(&db, &call_with_key(4), now()).await;
    assert!(matches!(refused, Reissue::Refused(Refusal::ReissueLimit { .. })));
    // What was refused has not used its key up.
    let later = now() + WEEK + SECOND;
    assert!(matches!(reissue(&db, &call_with_key(4), later).await, Reissue::Order(_)));
}

#[tokio::test]
async fn a_key_that_was_used_for_another_request_begins_nothing() {
    let (db, _folder) = open().await;
    let first = reissue(&db, &call_with_key(1), now()).await;
    let mut other = call_with_key(1);
    if let Some(once) = &mut other.once {
        once.request_hash = [2; 32];
    }
    assert_eq!(reissue(&db, &other, now()).await, Reissue::KeyReused);
    assert_eq!(reissue(&db, &call_with_key(1), now()).await, first);
    assert_eq!(actions(&db).await, ["certificate.reissue"]);
}

#[tokio::test]
async fn the_fourth_reissue_is_free_to_the_second() {
    let (db, _folder) = open().await;
    for _ in 0..3 {
        let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
        let order = ask(&db, &order, now()).await.unwrap();
        issue(&db, &order, now()).await;
    }
    for (at, free) in [
        (now() + SECOND, false),
        (now() - WEEK, false), // the clock went back
        (now() + WEEK - SECOND, false),
        (now() + WEEK + SECOND, true),
    ] {
        assert_eq!(begin(&db, "example.com", Reason::Reissue, at).await.is_ok(), free, "{at}");
    }
}

#[tokio::test]
async fn a_reissue_counts_from_when_the_ca_was_asked_and_not_at_all_before() {
    let (db, _folder) = open().await;
    let refused = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
    db.failed(&refused, &end(false), now()).await.unwrap();
    assert!(db.reissues("example.com").await.unwrap().is_empty());

    let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
    let order = ask(&db, &order, now() + SECOND * 60).await.unwrap();
    db.failed(&order, &end(false), now()).await.unwrap();
    assert_eq!(db.reissues("example.com").await.unwrap(), [now() + SECOND * 60]);
}

#[tokio::test]
async fn a_reissue_counts_from_when_the_ca_was_last_asked() {
    let (db, _folder) = open().await;
    let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
    let order = ask(&db, &order, now()).await.unwrap();
    let order = db.start_again(&order).await.unwrap();
    let order = ask(&db, &order, now() + SECOND * 3600).await.unwrap();
    assert_eq!(order.times_asked, 2);
    issue(&db, &order, now() + SECOND * 3600).await;
    assert_eq!(db.reissues("example.com").await.unwrap(), [now() + SECOND * 3600]);
}

#[tokio::test]
async fn an_order_that_another_process_took_further_is_not_overwritten() {
    let (db, _folder) = open().await;
    let old = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    let asked = ask(&db, &old, now()).await.unwrap();
    db.ask(&old, "ca", "account", now()).await.unwrap_err();
    let again = ask(&db, &asked, now()).await.unwrap();
    // The same step, but another question.
    db.ordered(&asked, "https://ca.example/1").await.unwrap_err();
    let ordered = db.ordered(&again, "https://ca.example/2").await.unwrap();
    db.failed(&again, &end(false), now()).await.unwrap_err();
    issue(&db, &ordered, now()).await;
    for late in [&old, &asked, &again, &ordered] {
        db.failed(late, &end(false), now()).await.unwrap_err();
        db.postpone(late, now(), 1, "late").await.unwrap_err();
        db.start_again(late).await.unwrap_err();
    }
    assert!(db.in_flight("example.com").await.unwrap().is_none());
    assert_eq!(db.order(&old.id).await.unwrap().unwrap().step, OrderStep::Issued);
    assert_eq!(db.name("example.com").await.unwrap().last_error, "");
}

#[tokio::test]
async fn a_question_that_did_not_leave_is_taken_back() {
    let (db, _folder) = open().await;
    let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
    let asked = ask(&db, &order, now()).await.unwrap();
    let order = db.unask(&asked, &order).await.unwrap();
    assert_eq!(db.order(&order.id).await.unwrap().unwrap().asked_at, None);

    // But one that may have got there stays, whatever became of a later one.
    let asked = ask(&db, &order, now()).await.unwrap();
    let again = ask(&db, &asked, now() + SECOND).await.unwrap();
    db.unask(&again, &asked).await.unwrap();
    assert_eq!(db.order(&order.id).await.unwrap().unwrap().asked_at, Some(now()));
}

#[tokio::test]
async fn renewals_are_not_counted_but_one_order_is_under_way_at_a_time() {
    let (db, _folder) = open().await;
    for _ in 0..5 {
        let order = begin(&db, "example.com", Reason::Renewal, now()).await.unwrap();
        let second = begin(&db, "example.com", Reason::Reissue, now()).await;
        assert!(matches!(second, Err(Refusal::ReissueInFlight)));
        issue(&db, &order, now()).await;
    }
    assert!(db.reissues("example.com").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_accounts_orders_are_bounded_and_remembered() {
    let (db, folder) = open().await;
    let mut order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    for _ in 0..ORDERS_PER_ACCOUNT.times {
        order = ask(&db, &order, now()).await.unwrap();
    }
    // A restart forgets nothing.
    let db = open_in(&folder).await;
    let until = now() + ORDERS_PER_ACCOUNT.window;
    assert_eq!(ask(&db, &order, until - SECOND).await.unwrap_err(), until);
    // Another account, of a staging directory for one, has a limit of its own; the local CA none.
    for account in ["staging", ""] {
        order = db.ask(&order, "other", account, now()).await.unwrap().unwrap();
    }
    ask(&db, &order, until + SECOND).await.unwrap();
}

#[tokio::test]
async fn an_order_that_the_ca_did_not_make_takes_no_room() {
    let (db, _folder) = open().await;
    let mut order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    for _ in 0..ORDERS_PER_ACCOUNT.times + 1 {
        order = ask(&db, &order, now()).await.unwrap();
        db.refund(&order).await.unwrap();
    }
    assert_eq!(order.asked_at, Some(now()), "but the CA was asked");
}

#[tokio::test]
async fn failed_validations_of_a_name_are_bounded() {
    let (db, _folder) = open().await;
    for _ in 0..FAILED_VALIDATIONS.times {
        let order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
        fail(&db, &order, true, now()).await;
    }
    let until = now() + FAILED_VALIDATIONS.window;
    let order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    assert_eq!(ask(&db, &order, now() + SECOND).await.unwrap_err(), until);
    let other = begin(&db, "example.net", Reason::First, now()).await.unwrap();
    ask(&db, &other, now() + SECOND).await.unwrap();
    ask(&db, &order, until + SECOND).await.unwrap();
}

#[tokio::test]
async fn an_ended_order_keeps_no_key_and_its_certificate_has_it() {
    let (db, _folder) = open().await;
    let order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    issue(&db, &order, now()).await;
    assert_eq!(db.order(&order.id).await.unwrap().unwrap().sealed_key, None);
    let certificate = db.certificate("example.com").await.unwrap().unwrap();
    assert_eq!((certificate.sealed_key, certificate.order_id), (vec![1], order.id));

    let failed = begin(&db, "example.com", Reason::Renewal, now()).await.unwrap();
    db.failed(&failed, &end(false), now()).await.unwrap();
    assert_eq!(db.order(&failed.id).await.unwrap().unwrap().sealed_key, None);
}

#[tokio::test]
async fn owners_and_our_own_orders_go_on_turn_and_turn_about() {
    let (db, _folder) = open().await;
    for n in 0..5 {
        let at = now() + SECOND * n;
        let reissue = begin(&db, &format!("r{n}.example"), Reason::Reissue, at).await.unwrap();
        db.postpone(&reissue, at, 0, "").await.unwrap();
        let own = begin(&db, &format!("o{n}.example"), Reason::First, at).await.unwrap();
        db.postpone(&own, at, 0, "").await.unwrap();
    }
    let later = begin(&db, "later.example", Reason::First, now()).await.unwrap();
    db.postpone(&later, now() + SECOND * 3600, 1, "the CA is away").await.unwrap();
    let at = now() + SECOND * 60;
    let first: Vec<_> =
        db.under_way(at, 4).await.unwrap().into_iter().map(|order| order.domain).collect();
    assert_eq!(first, ["r0.example", "o0.example", "r1.example", "o1.example"]);
    assert_eq!(db.own_orders_ready(at).await.unwrap(), 5, "one that waits keeps nobody back");
}

#[tokio::test]
async fn certificates_in_danger_come_first_and_renewals_have_half_of_the_rest() {
    let (db, _folder) = open().await;
    let mut position = 0;
    let mut host = async |domain: &str, region: &str| {
        position += 1;
        let claim = Some("claim");
        let policy = Policy { domain, region, revision: 1, position, claim };
        assert!(db.take_policy(&policy).await.unwrap());
    };
    for domain in ["new1.example", "new2.example", "new3.example"] {
        host(domain, "a").await;
    }
    for domain in ["due1.example", "due2.example", "danger.example", "fresh.example"] {
        host(domain, "b").await;
    }
    host("unserved.example", "c").await;
    let hour = SECOND * 3600;
    let certificates = [
        ("due1.example", now() - hour, now() + hour * 20),
        ("due2.example", now() - hour, now() + hour * 21),
        ("danger.example", now() - hour * 21, now() + hour * 10),
        ("fresh.example", now() + hour, now() + hour * 20),
    ];
    for (domain, renew_at, not_after) in certificates {
        let order = begin(&db, domain, Reason::First, now()).await.unwrap();
        let (serial, issuer, pem) = Default::default();
        let chain = Chain { pem, serial, issuer, not_before: now() - hour * 40, not_after };
        db.issued(&order, "ca", &chain, renew_at, now()).await.unwrap();
    }
    let due = |served: &[(&str, u64)], authority: &'static str| {
        let served: Vec<_> = served.iter().map(|(id, to)| ((*id).to_owned(), *to)).collect();
        let db = db.clone();
        async move {
            let due = db.due(&served, authority, now(), 9).await.unwrap();
            due.into_iter().map(|due| due.domain).collect::<Vec<_>>()
        }
    };
    let expected = [
        "danger.example",
        "new1.example",
        "due1.example",
        "new2.example",
        "due2.example",
        "new3.example",
    ];
    assert_eq!(due(&[("a", 9), ("b", 9)], "ca").await, expected);
    assert_eq!(due(&[("a", 2)], "ca").await, ["new1.example", "new2.example"]);
    assert_eq!(due(&[("b", 9)], "other").await.len(), 4);
    assert!(due(&[], "ca").await.is_empty());
}

#[tokio::test]
async fn only_the_account_that_failed_is_forgotten() {
    let (db, _folder) = open().await;
    let membership = |of: &str| Membership { sealed: vec![1], public_part: of.to_owned() };
    db.join("ca", &membership("old"), now()).await.unwrap();
    db.leave("ca", "old").await.unwrap();
    db.join("ca", &membership("new"), now()).await.unwrap();
    db.leave("ca", "old").await.unwrap();
    assert_eq!(db.membership("ca").await.unwrap().unwrap().public_part, "new");
}
