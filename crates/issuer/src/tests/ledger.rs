//! What the database promises of orders, whatever asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hosting::Refusal;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;

use super::world::store_url;
use crate::certificate::Chain;
use crate::schedule::{FAILED_VALIDATIONS, ORDERS_PER_ACCOUNT};
use crate::sql::{Db, End, NewOrder, Order, Reason};

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

async fn open() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&store_url(folder.path()).await).await.unwrap();
    (db, folder)
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
    }
}

async fn begin(db: &Db, domain: &str, reason: Reason, at: Timestamp) -> Result<Order, Refusal> {
    let new = new_order(domain, reason);
    db.begin(&new, at).await.unwrap()?;
    Ok(db.order(&new.id).await.unwrap().unwrap())
}

async fn ask(db: &Db, order: &Order, at: Timestamp) -> Result<(), Timestamp> {
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

fn end(unasked: bool, validation_failed: bool) -> End {
    End { why: "it failed".into(), validation_failed, unasked, retry_at: None }
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
                            ask(&db, &order, now()).await.unwrap();
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
    assert!(begin(&db, "example.net", Reason::Reissue, now()).await.is_ok());
}

#[tokio::test]
async fn the_fourth_reissue_is_free_to_the_second() {
    let (db, _folder) = open().await;
    for _ in 0..3 {
        let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
        ask(&db, &order, now()).await.unwrap();
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
    db.failed(&refused, &end(true, false), now()).await.unwrap();
    assert!(db.reissues("example.com").await.unwrap().is_empty());

    let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
    ask(&db, &order, now() + SECOND * 60).await.unwrap();
    db.failed(&order, &end(false, false), now()).await.unwrap();
    assert_eq!(db.reissues("example.com").await.unwrap(), [now() + SECOND * 60]);
}

#[tokio::test]
async fn a_question_that_did_not_leave_is_taken_back() {
    let (db, _folder) = open().await;
    let order = begin(&db, "example.com", Reason::Reissue, now()).await.unwrap();
    ask(&db, &order, now()).await.unwrap();
    db.unask(&order, now()).await.unwrap();
    assert_eq!(db.order(&order.id).await.unwrap().unwrap().asked_at, None);

    // But one that may have got there stays, whatever became of a later one.
    ask(&db, &order, now()).await.unwrap();
    let asked = db.order(&order.id).await.unwrap().unwrap();
    ask(&db, &asked, now() + SECOND).await.unwrap();
    db.unask(&asked, now() + SECOND).await.unwrap();
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
    let order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    for _ in 0..ORDERS_PER_ACCOUNT.times {
        ask(&db, &order, now()).await.unwrap();
    }
    // A restart forgets nothing.
    let db = Db::open(&store_url(folder.path()).await).await.unwrap();
    let until = now() + ORDERS_PER_ACCOUNT.window;
    assert_eq!(ask(&db, &order, until - SECOND).await, Err(until));
    assert_eq!(ask(&db, &order, until + SECOND).await, Ok(()));
}

#[tokio::test]
async fn failed_validations_of_a_name_are_bounded() {
    let (db, _folder) = open().await;
    for _ in 0..FAILED_VALIDATIONS.times {
        let order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
        ask(&db, &order, now()).await.unwrap();
        db.failed(&order, &end(false, true), now()).await.unwrap();
    }
    let until = now() + FAILED_VALIDATIONS.window;
    let order = begin(&db, "example.com", Reason::First, now()).await.unwrap();
    assert_eq!(ask(&db, &order, now() + SECOND).await, Err(until));
    let other = begin(&db, "example.net", Reason::First, now()).await.unwrap();
    assert_eq!(ask(&db, &other, now() + SECOND).await, Ok(()));
    assert_eq!(ask(&db, &order, until + SECOND).await, Ok(()));
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
    db.failed(&failed, &end(false, false), now()).await.unwrap();
    assert_eq!(db.order(&failed.id).await.unwrap().unwrap().sealed_key, None);
}
