//! One check of a claim: look, compare with what was, commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::random_range;
use service::clock::SharedClock;
use service::supervise::{Fault, Signal};
use store::{Store, Write};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use wire::bus;
use wire::time::to_wire;

use crate::expected::{Expected, Kind};
use crate::inquiry::Lookup;
use crate::judge::{Outcome, Status};
use crate::look::{Looked, look};
use crate::sql::{self, Due, Row, Watched};

/// Looks that many callers want are made once.
pub(crate) struct Checks {
    store: Store,
    lookup: Arc<Lookup>,
    clock: SharedClock,
    publish: Signal,
    /// When the last finished look at a claim began, by claim, while somebody is at it.
    looking: Mutex<HashMap<String, Began>>,
}

type Began = Arc<AsyncMutex<Option<Instant>>>;

impl Checks {
    pub(crate) fn new(
        store: Store,
        lookup: Arc<Lookup>,
        clock: SharedClock,
        publish: Signal,
    ) -> Checks {
        Checks { store, lookup, clock, publish, looking: Mutex::default() }
    }

    /// Looks at a claim, or waits for a look that began after this was called: an older one may
    /// have missed what the caller has just changed.
    ///
    /// # Errors
    /// When the claim makes no sense, or the database refused. That DNS did not answer is no fault
    /// but a result.
    pub(crate) async fn check(&self, claim_id: &str) -> Result<(), Fault> {
        let asked = Instant::now();
        let began = self.began(claim_id);
        let mut last = began.lock().await;
        let done = if last.is_some_and(|last| last >= asked) {
            Ok(())
        } else {
            let now = Instant::now();
            let done = self.look_and_commit(claim_id).await;
            *last = Some(now);
            done
        };
        drop(last);
        drop(began);
        self.forget(claim_id);
        done
    }

    fn began(&self, claim_id: &str) -> Began {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        looking.entry(claim_id.to_owned()).or_default().clone()
    }

    /// Nobody waits for it any more.
    fn forget(&self, claim_id: &str) {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if looking.get(claim_id).is_some_and(|began| Arc::strong_count(began) == 1) {
            looking.remove(claim_id);
        }
    }

    async fn look_and_commit(&self, claim_id: &str) -> Result<(), Fault> {
        let Some(watched) = sql::watched(&self.store, claim_id).await? else { return Ok(()) };
        // It was read when it was taken; by an older version of us, perhaps.
        let expected = Expected::from_document(watched.document.clone())?;
        let looked = look(&self.lookup, &expected).await;
        self.commit(&watched, &expected, &looked).await?;
        self.publish.wake();
        Ok(())
    }

    /// Puts off a claim whose check failed, longer each time: it must not hold up the others.
    ///
    /// # Errors
    /// When the database refused.
    pub(crate) async fn put_off(&self, due: &Due) -> Result<(), Fault> {
        let pause = self.lookup.config.pause_after_fault(pause(due.pause_ms));
        let mut write = self.store.write().await?;
        self.schedule(&mut write, &due.claim_id, due.revision, pause).await?;
        write.commit().await?;
        Ok(())
    }

    async fn schedule(
        &self,
        write: &mut Write,
        claim_id: &str,
        revision: u64,
        pause: Duration,
    ) -> Result<(), Fault> {
        let next = self.clock.now().saturating_add(jittered(pause))?;
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        sql::schedule(write, claim_id, revision, next, pause_ms).await?;
        Ok(())
    }

    async fn commit(
        &self,
        watched: &Watched,
        expected: &Expected,
        looked: &Looked,
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        let claim_id = &expected.claim_id;
        let mut write = self.store.write().await?;
        let still = sql::still_watched(&self.store, &mut write, claim_id, watched.revision);
        // A newer document is due at once: it gets a look of its own.
        if !still.await? {
            return Ok(());
        }
        let before: HashMap<Kind, Row> =
            sql::rows(&mut *write, claim_id).await?.into_iter().collect();
        let mut rows = Vec::new();
        for (kind, outcome) in &looked.outcomes {
            let row = next_row(expected.value(*kind), before.get(kind), outcome, now);
            sql::put_row(&mut write, claim_id, *kind, &row).await?;
            rows.push((*kind, row));
        }

        let last = sql::status_document(&mut write, claim_id).await?;
        let document = status_document(expected, &rows, looked, last.as_ref(), now);
        if last.as_ref() != Some(&document) {
            sql::put_status_document(&mut write, &document).await?;
        }

        let since_change = now.duration_since(watched.changed_at);
        let since_change = Duration::try_from(since_change).unwrap_or_default();
        let wanted = rows.iter().all(|(kind, row)| as_wanted(expected, *kind, row));
        let last = pause(watched.pause_ms);
        let pause = self.lookup.config.next_pause(last, since_change, wanted);
        self.schedule(&mut write, claim_id, watched.revision, pause).await?;
        write.commit().await?;
        Ok(())
    }
}

fn pause(pause_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(pause_ms).unwrap_or_default())
}

/// A tenth more or less, so that what was added together is not looked at together for ever.
fn jittered(pause: Duration) -> SignedDuration {
    let jittered = pause.mul_f64(random_range(0.9..=1.1));
    SignedDuration::try_from(jittered).unwrap_or(SignedDuration::MAX)
}

/// A row after a look. Without an answer the status stays, and the row says why.
fn next_row(value: String, before: Option<&Row>, outcome: &Outcome, now: Timestamp) -> Row {
    match outcome {
        Outcome::Known(verdict) => {
            let since = before.filter(|row| row.status == Some(verdict.status));
            Row {
                value,
                status: Some(verdict.status),
                found: verdict.found.clone(),
                hint: verdict.hint.as_ref().map(|h| h.sentence.clone()).unwrap_or_default(),
                hint_code: verdict.hint.as_ref().map(|h| h.code.clone()).unwrap_or_default(),
                status_since: since.and_then(|row| row.status_since).or(Some(now)),
                checked_at: now,
                check_error: String::new(),
            }
        }
        Outcome::Unknown { why, hint } => Row {
            value: before.map_or(value, |row| row.value.clone()),
            status: before.and_then(|row| row.status),
            found: before.map(|row| row.found.clone()).unwrap_or_default(),
            hint: hint.sentence.clone(),
            hint_code: hint.code.clone(),
            status_since: before.and_then(|row| row.status_since),
            checked_at: now,
            check_error: why.clone(),
        },
    }
}

/// What others are told. What was not answered this time stays as it was told before.
fn status_document(
    expected: &Expected,
    rows: &[(Kind, Row)],
    looked: &Looked,
    last: Option<&bus::DnsStatusDocument>,
    now: Timestamp,
) -> bus::DnsStatusDocument {
    let is_live = |wanted: Kind| {
        let row = rows.iter().find(|(kind, _)| *kind == wanted);
        row.is_some_and(|(_, row)| {
            row.status == Some(Status::Live) && row.value == expected.value(wanted)
        })
    };
    let answered = |wanted: Kind| {
        let outcome = looked.outcomes.iter().find(|(kind, _)| *kind == wanted);
        matches!(outcome, Some((_, Outcome::Known(_))))
    };
    // The id and its date belong together: clocks start at the date at which an id was seen.
    let (found_policy_id, checked_at) = match answered(Kind::Sts) {
        true => (looked.found_policy_id.clone(), Some(to_wire(now))),
        false => (last.map(|l| l.found_policy_id.clone()), last.and_then(|l| l.checked_at)),
    };
    bus::DnsStatusDocument {
        claim_id: expected.claim_id.clone(),
        domain: expected.domain.to_string(),
        proof_seen: looked.proof_seen
            || !answered(Kind::Cname) && last.is_some_and(|last| last.proof_seen),
        found_policy_id: found_policy_id.unwrap_or_default(),
        cname_live: is_live(Kind::Cname),
        txt_live: is_live(Kind::Sts),
        txt_absent: answered(Kind::Sts) && looked.sts_absent,
        checked_at,
    }
}

/// Whether there is nothing for the owner to do.
fn as_wanted(expected: &Expected, kind: Kind, row: &Row) -> bool {
    let nothing_to_publish = expected.value(kind).is_empty();
    nothing_to_publish || row.status == Some(Status::Live) && row.check_error.is_empty()
}

#[cfg(test)]
mod tests {
    use service::clock::SetClock;

    use super::*;
    use crate::config::Config;
    use crate::hint::Hint;
    use crate::judge::Verdict;

    fn at(minute: u8) -> Timestamp {
        format!("2026-11-23T10:{minute:02}:00Z").parse().unwrap()
    }

    fn known(status: Status) -> Outcome {
        Outcome::Known(Verdict { status, found: "x".into(), hint: None })
    }

    #[test]
    fn a_look_without_an_answer_keeps_the_status_and_says_why() {
        let first = next_row("value".into(), None, &known(Status::Live), at(0));
        let second = next_row("value".into(), Some(&first), &unanswered(), at(5));
        assert_eq!(second.status, Some(Status::Live));
        assert_eq!(second.status_since, Some(at(0)));
        assert_eq!(second.checked_at, at(5));
        assert_eq!(second.check_error, "no answer");
        assert_eq!(second.found, "x");

        let third = next_row("value".into(), Some(&second), &known(Status::Live), at(6));
        assert_eq!((third.status_since, third.check_error.as_str()), (Some(at(0)), ""));
        let fourth = next_row("value".into(), Some(&third), &known(Status::Mismatch), at(7));
        assert_eq!(fourth.status_since, Some(at(7)));
    }

    fn unanswered() -> Outcome {
        Outcome::Unknown { why: "no answer".into(), hint: Hint::waiting_for_edges() }
    }

    fn document(policy_id: &str) -> bus::RecordsDocument {
        bus::RecordsDocument {
            claim_id: "claim-1".into(),
            domain: "example.test".into(),
            region_host: "eu-1.region.test".into(),
            nonce: "a1b2c3d4e5f6a7b8".into(),
            policy_id: policy_id.into(),
            ..Default::default()
        }
    }

    fn looked(cname: Outcome, sts: Outcome, found: &str) -> Looked {
        let outcomes =
            [(Kind::Cname, cname), (Kind::Sts, sts), (Kind::TlsRpt, known(Status::Live))];
        let found_policy_id = Some(found.to_owned());
        Looked { outcomes, proof_seen: true, found_policy_id, sts_absent: found.is_empty() }
    }

    #[test]
    fn what_is_told_of_the_policy_id_has_the_date_of_its_own_last_answer() {
        let expected = Expected::from_document(document("new")).unwrap();
        let live = || known(Status::Live);
        let mut last = None;
        for (minute, cname, sts, found, told) in [
            (0, unanswered(), unanswered(), "", (None, "", false)),
            (1, live(), live(), "old", (Some(at(1)), "old", false)),
            (2, unanswered(), live(), "new", (Some(at(2)), "new", false)),
            (3, unanswered(), live(), "", (Some(at(3)), "", true)),
            (4, live(), live(), "new", (Some(at(4)), "new", false)),
            // Servers answered, but not so that a sender would believe it.
            (5, live(), unanswered(), "", (Some(at(4)), "new", false)),
        ] {
            let looked = looked(cname, sts, found);
            let document = status_document(&expected, &[], &looked, last.as_ref(), at(minute));
            let checked_at = document.checked_at.as_ref().and_then(wire::time::from_wire);
            let found = document.found_policy_id.as_str();
            assert_eq!((checked_at, found, document.txt_absent), told, "minute {minute}");
            last = Some(document);
        }
    }

    #[tokio::test]
    async fn a_look_for_an_older_document_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("dns.db").display());
        let store = Store::open(&url, "dns", sql::STEPS).await.unwrap();
        let lookup = Arc::new(Lookup::new(Config::default(), vec![]));
        let clock = SetClock::at(at(0));
        let checks = Checks::new(store.clone(), lookup, clock, Signal::default());
        let looked = looked(known(Status::Live), known(Status::Live), "old");
        let mut asked = vec![];
        for (revision, policy_id) in [(1, "old"), (2, "new")] {
            let document = document(policy_id);
            sql::take(&store, "claim-1", revision, Some(&document), at(0)).await.unwrap();
            let watched = sql::watched(&store, "claim-1").await.unwrap().unwrap();
            asked.push((watched, Expected::from_document(document).unwrap()));
        }
        for ((watched, expected), kept) in asked.iter().zip([false, true]) {
            checks.commit(watched, expected, &looked).await.unwrap();
            let rows = sql::rows(store.read(), "claim-1").await.unwrap();
            assert_eq!(!rows.is_empty(), kept, "revision {}", watched.revision);
        }
    }

    #[test]
    fn a_first_look_without_an_answer_is_no_status() {
        let row = next_row("value".into(), None, &unanswered(), at(0));
        assert_eq!((row.status, row.status_since), (None, None));
    }
}
