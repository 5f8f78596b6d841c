use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bus::Entry;
use jiff::SignedDuration;
use wire::Message;
use wire::bus::{CertificateDocument, ChallengeDocument, PolicyDocument};
use wire::envelope::Place;

use super::state::MAX_REFUSED;
use super::*;
use crate::follow::Again;
use crate::store::disk::Disk;
use crate::testing::{REGION, Region, THUMBPRINT, body, credential};
use crate::tls;

/// A taker without bus or sockets.
struct Desk {
    region: Region,
    taker: Taker,
    sequence: u64,
}

impl Desk {
    fn new() -> Desk {
        let region = Region::new();
        let taker = taker(&region, credential());
        Desk { region, taker, sequence: 0 }
    }

    fn reopen(self) -> Desk {
        let Desk { region, taker, sequence } = self;
        drop(taker);
        let taker = super::tests::taker(&region, credential());
        Desk { region, taker, sequence }
    }

    fn take(&mut self, bucket: Bucket, key: &str, value: Vec<u8>) {
        self.sequence += 1;
        let entry = Entry { key: key.into(), value: value.into(), sequence: self.sequence };
        self.taker.take(bucket, &[entry]).unwrap();
    }

    fn take_policy(&mut self, domain: &str, revision: u64, mode: &str) {
        let envelope = self.region.policy(domain, revision, &body(domain, mode));
        self.take(Bucket::Policies, domain, envelope);
    }

    fn bury(&mut self, domain: &str, revision: u64) {
        self.bury_at(domain, Place { revision, position: revision * 10 });
    }

    fn bury_at(&mut self, domain: &str, place: Place) {
        let envelope = self.region.control.tombstone("policies-eu-1", domain, place);
        self.take(Bucket::Policies, domain, envelope);
    }

    /// A policy whose body is good or is none, at a place of its own.
    fn take_body_at(&mut self, domain: &str, place: Place, body: Vec<u8>) {
        let document = PolicyDocument { domain: domain.into(), body, ..Default::default() };
        let envelope = self.region.control.seal("policies-eu-1", domain, place, &document);
        self.take(Bucket::Policies, domain, envelope);
    }

    /// Follows again, as the follower does: gives the sequence of the first document to come.
    fn begin(&mut self) -> u64 {
        self.sequence = self.taker.begin(Bucket::Policies, String::new(), false);
        self.sequence + 1
    }

    fn mode(&self, domain: &str) -> Option<String> {
        let bytes = self.taker.store.get(Table::Policies, domain).unwrap()?;
        let record = Record::open(Table::Policies, domain, &bytes).unwrap();
        let policy = PolicyDocument::decode(record.document.as_slice()).unwrap();
        let parsed = mta_sts::Policy::parse(&policy.body).unwrap();
        Some(parsed.policy.mode.as_str().to_owned())
    }

    fn refusals(&self) -> Vec<String> {
        self.taker.told().refused.into_iter().map(|refused| refused.reason).collect()
    }
}

fn taker(region: &Region, credential: Kek) -> Taker {
    let (disk, _) = Disk::open(region.path()).unwrap();
    taker_on(Arc::new(disk), region, credential)
}

fn taker_on(store: Arc<dyn Store>, region: &Region, credential: Kek) -> Taker {
    let (credential, provider) = (Arc::new(credential), Arc::new(tls::provider()));
    let again = Arc::new(Again::default());
    let sites = Sites::new(store.clone(), credential.clone(), provider.clone(), again);
    Taker::new(Parts {
        region: REGION.into(),
        trust: region.trust(),
        region_key: region.key.private.clone(),
        credential,
        provider,
        clock: region.clock.clone(),
        store,
        sites: Arc::new(sites),
    })
}

#[test]
fn an_edge_never_steps_back() {
    let mut desk = Desk::new();
    desk.take_policy("a.example", 5, "enforce");
    for (revision, mode, now) in
        [(4, "testing", "enforce"), (5, "testing", "enforce"), (6, "testing", "testing")]
    {
        desk.take_policy("a.example", revision, mode);
        assert_eq!(desk.mode("a.example").as_deref(), Some(now), "revision {revision}");
        desk = desk.reopen();
        assert_eq!(desk.mode("a.example").as_deref(), Some(now), "after a restart");
    }
    assert_eq!(desk.taker.told().positions, [60, 0, 0]);
    assert!(desk.refusals().is_empty());
}

/// A disk that is full now and then.
struct FullDisk {
    disk: Disk,
    full: AtomicBool,
}

impl Store for FullDisk {
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.disk.get(table, key)
    }
    fn after(
        &self,
        table: Table,
        key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.disk.after(table, key, limit)
    }
    fn len(&self, table: Table) -> Result<u64, StoreError> {
        self.disk.len(table)
    }
    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(StoreError::Disk("no space left on device".into())),
            false => self.disk.commit(changes),
        }
    }
}

#[test]
fn what_could_not_be_written_is_not_acknowledged_and_is_taken_when_there_is_space() {
    let region = Region::new();
    let (disk, _) = Disk::open(region.path()).unwrap();
    let store = Arc::new(FullDisk { disk, full: AtomicBool::new(false) });
    let taker = taker_on(store.clone(), &region, credential());
    let entry = |revision: u64, mode: &str| {
        let value = region.policy("a.example", revision, &body("a.example", mode)).into();
        [Entry { key: "a.example".into(), value, sequence: revision }]
    };
    taker.take(Bucket::Policies, &entry(1, "testing")).unwrap();
    store.full.store(true, Ordering::SeqCst);
    assert!(taker.take(Bucket::Policies, &entry(2, "enforce")).is_err());
    assert_eq!(taker.told().positions[0], 10);
    assert_eq!(taker.begin(Bucket::Policies, String::new(), false), 1, "it has to come again");
    taker.note(DISK, "the disk is full");
    assert_eq!(taker.told().refused.len(), 1);

    store.full.store(false, Ordering::SeqCst);
    taker.take(Bucket::Policies, &entry(2, "enforce")).unwrap();
    assert_eq!((taker.told().positions[0], taker.told().refused.len()), (20, 0));
}

#[test]
fn what_was_removed_stays_removed() {
    let mut desk = Desk::new();
    desk.take_policy("a.example", 1, "testing");
    desk.bury("a.example", 2);
    desk = desk.reopen();
    desk.take_policy("a.example", 1, "testing");
    assert_eq!((desk.mode("a.example"), desk.taker.told().domains), (None, 0));
    // A removal of what never was here is remembered as well.
    desk.bury("b.example", 7);
    desk.take_policy("b.example", 6, "testing");
    assert_eq!(desk.mode("b.example"), None);
    desk.take_policy("a.example", 3, "enforce");
    assert_eq!(desk.mode("a.example").as_deref(), Some("enforce"));
}

#[test]
fn poison_is_refused_by_name_and_delays_nobody() {
    let mut desk = Desk::new();
    desk.take_policy("a.example", 1, "testing");
    let region = Region::new();
    let own = &desk.region;
    let place = Place { revision: 9, position: 90 };
    let other_domain = PolicyDocument {
        domain: "b.example".into(),
        body: body("b.example", "none"),
        ..Default::default()
    };
    let good = own.policy("a.example", 9, &body("a.example", "enforce"));
    let mut flipped = good.clone();
    flipped[10] ^= 1;
    let seal =
        |document: &PolicyDocument| own.control.seal("policies-eu-1", "a.example", place, document);
    let cases = [
        (b"\xff\xff\xff".to_vec(), "decoded"),
        (vec![], "delegated"),
        (vec![0; 300 * 1024], "bytes, more than"),
        (flipped, ""),
        (region.policy("a.example", 9, &body("a.example", "enforce")), "not delegated by our root"),
        (own.policy("b.example", 9, &body("b.example", "none")), "not for where it was found"),
        (own.control.seal("policies-us-1", "a.example", place, &other_domain), "policies-us-1"),
        (own.issuer.seal("policies-eu-1", "a.example", place, &other_domain), "may not write"),
        (seal(&other_domain), "it is for \"b.example\""),
        (own.policy("a.example", 9, b""), "policy file is wrong"),
        (own.policy("a.example", 9, b"<html>"), "policy file is wrong"),
        (own.policy("a.example", 9, &b"mx: a.example\r\n".repeat(6_000)), "policy file is wrong"),
    ];
    for (poison, why) in cases {
        desk.take(Bucket::Policies, "a.example", poison);
        let said = desk.refusals();
        assert!(said[0].contains(why), "{why}: {said:?}");
        assert_eq!(said.len(), 1, "one per key");
        assert_eq!(desk.mode("a.example").as_deref(), Some("testing"));
        let next = format!("n{}.example", desk.sequence);
        desk.take_policy(&next, 1, "enforce");
        assert_eq!(desk.mode(&next).as_deref(), Some("enforce"));
    }
    desk = desk.reopen();
    assert_eq!(desk.refusals().len(), 1, "a restart forgets no refusal");
    desk.take(Bucket::Policies, "a.example", good);
    assert!(desk.refusals().is_empty(), "a good one takes its place");
    for nth in 0..150 {
        desk.take(Bucket::Policies, &format!("p{nth}.example"), vec![1]);
    }
    assert_eq!(desk.refusals().len(), MAX_REFUSED);
}

#[test]
fn a_certificate_has_to_fit_its_name_and_key() {
    let mut desk = Desk::new();
    let region = &desk.region;
    let good = region.certificate_document("a.example", "mta-sts.a.example");
    let other = region.certificate_document("a.example", "mta-sts.a.example");
    let wildcard = region.certificate_document("a.example", "*.a.example");
    let change = |change: fn(&mut CertificateDocument)| {
        let mut document = good.clone();
        change(&mut document);
        document
    };
    let wrong_key = CertificateDocument { key: other.key.clone(), ..good.clone() };
    let no_key_at_all = region.seal_key("a.example", b"no key");
    let cases = [
        (region.certificate_document("a.example", "a.example"), "not for mta-sts.a.example"),
        (region.certificate_document("a.example", "mta-sts.b.example"), "not for"),
        (region.certificate_document("b.example", "mta-sts.a.example"), "it is for \"b.example\""),
        (wrong_key, "does not belong"),
        (CertificateDocument { key: Some(no_key_at_all), ..good.clone() }, "no kind"),
        (change(|document| document.key = None), "no private key"),
        (change(|document| document.key = Some(Default::default())), "can't be opened"),
        (change(|document| document.chain.clear()), "0 certificates"),
        (change(|document| document.chain = vec![vec![1; 100]; 9]), "9 certificates"),
        (change(|document| document.chain[0].truncate(50)), ""),
    ];
    let envelopes: Vec<_> = cases
        .iter()
        .map(|(document, why)| (region.sealed_certificate("a.example", 1, document), *why))
        .collect();
    let good = region.sealed_certificate("a.example", 2, &good);
    let wildcard = region.sealed_certificate("a.example", 3, &wildcard);
    for (envelope, why) in envelopes {
        desk.take(Bucket::Certificates, "a.example", envelope);
        let said = desk.refusals();
        assert!(said.first().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
        assert_eq!(desk.taker.store.len(Table::Certificates).unwrap(), 0);
    }
    for envelope in [good, wildcard] {
        desk.take(Bucket::Certificates, "a.example", envelope);
        assert_eq!(desk.taker.store.len(Table::Certificates).unwrap(), 1);
        assert!(desk.refusals().is_empty());
    }
}

#[test]
fn a_private_key_is_on_disk_only_encrypted() {
    let mut desk = Desk::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["mta-sts.a.example".to_owned()]).unwrap();
    let document = CertificateDocument {
        domain: "a.example".into(),
        chain: vec![leaf.self_signed(&key).unwrap().der().to_vec()],
        key: Some(desk.region.seal_key("a.example", &key.serialize_der())),
        ..Default::default()
    };
    let envelope = desk.region.sealed_certificate("a.example", 1, &document);
    desk.take(Bucket::Certificates, "a.example", envelope.clone());
    desk.take_policy("a.example", 1, "testing");
    assert!(desk.taker.sites.site("a.example").is_some());
    let file = std::fs::read(desk.region.path().join("store.redb")).unwrap();
    let pkcs8 = key.serialize_der();
    // The private scalar is in the middle of its PKCS #8.
    let secret = &pkcs8[36..68];
    assert!(!file.windows(secret.len()).any(|window| window == secret));

    // Under another credential it is of no use, and the same document is taken again.
    let Desk { region, taker, .. } = desk;
    drop(taker);
    let taker = super::tests::taker(&region, Kek::new(&[8; 32]).unwrap());
    assert!(taker.sites.site("a.example").is_none());
    let entry = Entry { key: "a.example".into(), value: envelope.into(), sequence: 1 };
    taker.take(Bucket::Certificates, &[entry]).unwrap();
    assert!(taker.sites.site("a.example").is_some());
}

#[test]
fn a_challenge_document_is_checked_too() {
    let mut desk = Desk::new();
    for (key, thumbprints, taken) in [
        ("account", vec![THUMBPRINT], true),
        ("a.example", vec![THUMBPRINT, THUMBPRINT], true),
        ("account", vec![], false),
        ("account", vec![THUMBPRINT; 17], false),
        ("account", vec!["short"], false),
        ("account", vec!["<script>alert(1)</script>aaaaaaaaaaaaaaaaaa"], false),
        ("A.example", vec![THUMBPRINT], false),
    ] {
        let thumbprints = thumbprints.into_iter().map(str::to_owned).collect();
        let document = ChallengeDocument { thumbprints };
        let revision = desk.sequence + 1;
        let place = Place { revision, position: revision };
        let envelope = desk.region.issuer.seal("challenges-eu-1", key, place, &document);
        let before = desk.refusals().len();
        desk.take(Bucket::Challenges, key, envelope);
        assert_eq!(desk.refusals().len() > before || !desk.refusals().is_empty(), !taken, "{key}");
        desk.taker.state().refused.clear();
        desk.taker.told.lock().unwrap().refused.clear();
    }
}

#[test]
fn a_flood_of_removals_stops_at_the_budget_and_goes_on_in_the_next_hour() {
    let mut desk = Desk::new();
    let names: Vec<String> = (0..130).map(|nth| format!("d{nth:03}.example")).collect();
    for name in &names {
        desk.take_policy(name, 1, "testing");
    }
    for name in &names {
        desk.bury(name, 2);
    }
    assert_eq!(desk.taker.told().domains, 30);
    assert_eq!(desk.refusals().len(), 30);
    assert!(desk.refusals()[0].contains("held back"));
    // Others are taken meanwhile.
    desk.take_policy("new.example", 1, "enforce");
    assert_eq!(desk.mode("new.example").as_deref(), Some("enforce"));

    // A restart renews nothing. It comes by the first one held back again, and so does whoever
    // follows anew without one.
    let first_held = 130 + 100;
    desk = desk.reopen();
    assert_eq!(desk.taker.begin(Bucket::Policies, String::new(), false), first_held);
    desk.sequence = first_held;
    desk.bury(&names[100], 2);
    desk.bury(&names[101], 2);
    assert_eq!(desk.taker.told().domains, 31);
    assert_eq!(desk.taker.begin(Bucket::Policies, String::new(), false), first_held);

    desk.bury(&names[100], 2);
    assert!(!desk.taker.may_retry(Bucket::Policies));
    desk.region.clock.advance(SignedDuration::from_hours(1));
    assert!(desk.taker.may_retry(Bucket::Policies));
    for name in &names {
        desk.bury(name, 2);
    }
    assert_eq!((desk.taker.told().domains, desk.refusals().len()), (1, 0));
}

#[test]
fn up_to_a_told_position_everything_is_here_or_named() {
    const REMOVED: u64 = 250;
    let mut desk = Desk::new();
    let names: Vec<String> = (0..REMOVED).map(|nth| format!("d{nth:03}.example")).collect();
    for name in &names {
        desk.take_policy(name, 1, "testing");
    }
    let first_removal = desk.sequence + 1;
    let last = first_removal + REMOVED;
    for hour in 0..3 {
        if hour > 0 {
            desk.region.clock.advance(SignedDuration::from_hours(1));
            assert!(desk.begin() >= first_removal, "what is here is not asked for again");
        }
        // Positions are as sequences, so that each document comes again at its place.
        while desk.sequence < last {
            let position = desk.sequence + 1;
            match names.get((position - first_removal) as usize) {
                Some(name) => desk.bury_at(name, Place { revision: 2, position }),
                None => {
                    let place = Place { revision: 1, position };
                    desk.take_body_at("new.example", place, body("new.example", "enforce"));
                }
            }
            let told = desk.taker.told();
            for (name, position) in names.iter().zip(first_removal..=told.positions[0]) {
                let named = told.refused.iter().any(|refused| refused.key == *name);
                assert!(named || desk.mode(name).is_none(), "{name} at {position} in hour {hour}");
            }
        }
        assert_eq!(desk.mode("new.example").as_deref(), Some("enforce"), "nobody is delayed");
        let before = desk.taker.told();
        desk = desk.reopen();
        assert_eq!(desk.taker.told(), before, "a restart says nothing else");
        desk.begin();
        desk.sequence = last;
    }
    let told = desk.taker.told();
    assert_eq!((told.domains, told.positions[0], told.refused.len()), (1, last, 0));
}

#[test]
fn what_the_report_has_no_room_for_is_come_by_again_once_there_is_room_or_it_is_settled() {
    let mut desk = Desk::new();
    let full = MAX_REFUSED as u64;
    let name = |position: u64| format!("p{position}.example");
    for position in 1..=full + 3 {
        desk.take_body_at(&name(position), Place { revision: 1, position }, b"<html>".to_vec());
    }
    assert_eq!((desk.taker.told().positions[0], desk.refusals().len() as u64), (full, full));
    assert!(!desk.taker.may_retry(Bucket::Policies), "there is no room");

    // A good one for the first that is not named, then for one that is.
    for (mended, told) in [(full + 1, full + 1), (1, full + 2)] {
        let place = Place { revision: 2, position: 1_000 + mended };
        desk.take_body_at(&name(mended), place, body(&name(mended), "testing"));
        assert!(desk.taker.told().positions[0] < told, "it stops until that came by again");
        assert!(desk.taker.may_retry(Bucket::Policies));
        let first = desk.begin();
        for position in first..=full + 3 {
            let place = Place { revision: 1, position };
            desk.take_body_at(&name(position), place, b"<html>".to_vec());
        }
        assert_eq!(desk.taker.told().positions[0], told);
        assert_eq!(desk.refusals().len() as u64, full);
        assert!(!desk.taker.may_retry(Bucket::Policies));
    }
}

#[test]
fn trouble_of_the_edge_itself_always_has_room_in_the_report() {
    let mut desk = Desk::new();
    for nth in 0..150 {
        desk.take(Bucket::Certificates, &format!("p{nth}.example"), vec![1]);
    }
    desk.taker.note(STORE, "set aside");
    desk.taker.note(DISK, "full");
    let told = desk.taker.told();
    assert_eq!(told.refused.iter().filter(|refused| refused.bucket.is_empty()).count(), 2);
    assert_eq!(told.refused.len(), 100, "as many as readers take");
}

#[test]
fn a_refusal_is_forgiven_when_the_document_is_here_already_and_not_for_an_older_one() {
    let mut desk = Desk::new();
    let here = desk.region.policy("a.example", 2, &body("a.example", "testing"));
    desk.take(Bucket::Policies, "a.example", here.clone());
    desk.take(Bucket::Policies, "a.example", b"garbage".to_vec());
    assert_eq!(desk.refusals().len(), 1);
    desk.take(Bucket::Policies, "a.example", here.clone());
    assert!(desk.refusals().is_empty());

    let bad = desk.region.policy("a.example", 3, b"<html>");
    desk.take(Bucket::Policies, "a.example", bad);
    desk.take(Bucket::Policies, "a.example", here);
    assert_eq!(desk.refusals().len(), 1, "the newer one is not here");
}

#[test]
fn policies_that_turn_to_none_have_a_budget_and_back_they_have_none() {
    let mut desk = Desk::new();
    let names: Vec<String> = (0..105).map(|nth| format!("d{nth:03}.example")).collect();
    for (revision, mode) in [(1, "enforce"), (2, "none"), (3, "none"), (4, "testing")] {
        for name in &names {
            desk.take_policy(name, revision, mode);
        }
    }
    assert!(names.iter().all(|name| desk.mode(name).as_deref() == Some("testing")));
    assert!(desk.refusals().is_empty());
    for name in &names {
        desk.take_policy(name, 5, "none");
    }
    assert!(names.iter().all(|name| desk.mode(name).as_deref() == Some("testing")));
}
