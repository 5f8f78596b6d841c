use bytes::Bytes;
use http::HeaderValue;
use jiff::SignedDuration;
use rustls::sign::CertifiedKey;
use service::clock::SetClock;
use tempfile::TempDir;
use wire::Message;
use wire::bus::FetchBatch;

use super::*;
use crate::store::Store;
use crate::store::disk::Disk;

struct Bench {
    counts: Counts,
    clock: Arc<SetClock>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let clock = SetClock::at("2026-11-23T10:59:59Z".parse().unwrap());
        let counts = Counts::new(clock.clone());
        Bench { counts, clock, folder: tempfile::tempdir().unwrap() }
    }

    fn spool(&self) -> Spool {
        let (disk, _) = Disk::open(self.folder.path()).unwrap();
        let store: Arc<dyn Store> = Arc::new(disk);
        Spool::new(store, "eu-1-a".into(), "eu-1".into())
    }

    fn fetch(&self, domain: &str, agent: &str) {
        let agent = HeaderValue::from_str(agent).unwrap();
        self.counts.fetched(&site(domain), Some(&agent));
    }
}

fn site(domain: &str) -> Site {
    let key = rcgen::KeyPair::generate().unwrap();
    let provider = crate::tls::provider();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let key = provider.key_provider.load_private_key(key).unwrap();
    Site {
        domain: domain.into(),
        certified: Arc::new(CertifiedKey::new(vec![], key)),
        body: Bytes::new(),
        length: HeaderValue::from(0),
        revision: 3,
    }
}

fn decode(batch: &[u8]) -> Vec<(String, i64, String, u64)> {
    let batch = FetchBatch::decode(batch).unwrap();
    let count = |count: wire::bus::FetchCount| {
        (count.domain, count.hour.unwrap().seconds, count.client, count.fetches)
    };
    batch.counts.into_iter().map(count).collect()
}

#[test]
fn fetches_add_up_by_domain_hour_and_client() {
    let bench = Bench::new();
    let spool = bench.spool();
    bench.fetch("a.example", "curl/8");
    bench.fetch("a.example", "curl/7");
    spool.append(&bench.counts.take()).unwrap();
    bench.fetch("a.example", "curl/7");
    bench.fetch("a.example", "dmarcer-probe/1");
    bench.clock.advance(SignedDuration::from_secs(1));
    bench.fetch("a.example", "curl/7");
    spool.append(&bench.counts.take()).unwrap();
    let (_, batch) = spool.next_batch().unwrap().unwrap();
    let ten: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let (ten, curl) = (ten.as_second(), "curl".to_owned());
    assert_eq!(
        decode(&batch),
        [
            ("a.example".to_owned(), ten, curl.clone(), 3),
            ("a.example".to_owned(), ten + 3600, curl, 1)
        ]
    );
}

#[test]
fn a_batch_keeps_its_id_and_content_until_it_is_taken() {
    let bench = Bench::new();
    let spool = bench.spool();
    bench.fetch("a.example", "curl/8");
    spool.append(&bench.counts.take()).unwrap();
    let first = spool.next_batch().unwrap().unwrap();
    bench.fetch("b.example", "curl/8");
    spool.append(&bench.counts.take()).unwrap();
    drop(spool);
    let spool = bench.spool();
    assert_eq!(spool.next_batch().unwrap().unwrap(), first);
    spool.forget(&first.0).unwrap();
    let second = spool.next_batch().unwrap().unwrap();
    assert_ne!(second.0, first.0);
    assert_eq!(decode(&second.1)[0].0, "b.example");
    spool.forget(&second.0).unwrap();
    assert_eq!(spool.next_batch().unwrap(), None);
}

#[test]
fn a_lost_store_never_uses_an_id_again() {
    let ids = [Bench::new(), Bench::new()].map(|bench| {
        let spool = bench.spool();
        bench.fetch("a.example", "curl/8");
        spool.append(&bench.counts.take()).unwrap();
        spool.next_batch().unwrap().unwrap().0
    });
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_long_outage_is_merged_and_loses_nothing() {
    let bench = Bench::new();
    let spool = bench.spool();
    let site = site("a.example");
    let agent = HeaderValue::from_static("curl/8");
    for _ in 0..700 {
        bench.counts.fetched(&site, Some(&agent));
        spool.append(&bench.counts.take()).unwrap();
    }
    let (_, batch) = spool.next_batch().unwrap().unwrap();
    assert_eq!(decode(&batch).iter().map(|count| count.3).sum::<u64>(), 700);
}

#[test]
fn made_up_clients_are_told_apart_only_so_far() {
    let bench = Bench::new();
    let site = site("a.example");
    for nth in 0..1_000 {
        let agent = HeaderValue::from_str(&format!("made-up-{nth}")).unwrap();
        bench.counts.fetched(&site, Some(&agent));
    }
    let tallies = bench.counts.take();
    assert_eq!(tallies.len(), MAX_KINDS + 1);
    let other = tallies.iter().find(|(key, _)| &*key.client == OTHER).unwrap().1;
    assert_eq!(other.fetches, 1_000 - MAX_KINDS as u64);
}

#[test]
fn counts_that_could_not_be_written_are_kept() {
    let bench = Bench::new();
    bench.fetch("a.example", "curl/8");
    let taken = bench.counts.take();
    bench.fetch("a.example", "curl/8");
    bench.counts.give_back(taken);
    let tallies = bench.counts.take();
    assert_eq!(tallies.values().map(|tally| tally.fetches).collect::<Vec<_>>(), [2]);
}
