//! The whole service: documents in, rows and documents out.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::SharedBus;
use bus::embedded::EmbeddedBus;
use hickory_proto::op::ResponseCode;
use jiff::{SignedDuration, Timestamp};
use service::Shutdown;
use service::access::{Access, Known, Limits, Need, Rule, Rules};
use service::caller::{Caller, Role};
use service::clock::{Clock, SetClock};
use service::config::Secret;
use service::grpc::{Services, bind};
use service::peer::{Peer, peer};
use store::{Store, sqlx};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Response, Status};
use wire::bus::{DnsStatusDocument, RecordsDocument};
use wire::control::claim_service_server::{ClaimService, ClaimServiceServer};
use wire::control::{
    AuthorizeIssuanceRequest, AuthorizeIssuanceResponse, GetExpectedRecordsRequest,
    GetExpectedRecordsResponse,
};
use wire::dns::record_service_client::RecordServiceClient;
use wire::dns::{
    CheckRecordsRequest, ListRecordsRequest, ObserveProofRequest, Record, RecordStatus,
};
use wire::envelope::{Place, Root, Signer, Trust, new_key};

use super::name_server::{NameServer, Quirk, address, start};
use crate::{Config, Parts, RECORDS_BUCKET, STATUS_BUCKET};

const ZONE: &str = "
    example.test SOA ns1.example.test
    example.test NS ns1.example.test
    ns1.example.test A 127.0.0.1
    mta-sts.example.test CNAME a1b2c3d4e5f6a7b8.eu-1.region.test
    _mta-sts.example.test TXT v=STSv1; id=abc123;
";

fn document(policy_id: &str) -> RecordsDocument {
    RecordsDocument {
        claim_id: "claim-1".into(),
        workspace_id: "acme".into(),
        domain: "example.test".into(),
        region_id: "eu-1".into(),
        region_host: "eu-1.region.test".into(),
        nonce: "a1b2c3d4e5f6a7b8".into(),
        policy_id: policy_id.into(),
        ..Default::default()
    }
}

/// Control, as far as this service knows it.
#[derive(Clone, Default)]
struct Control {
    records: Arc<Mutex<Option<(RecordsDocument, u64)>>>,
    away: Arc<Mutex<bool>>,
}

impl Control {
    fn commit(&self, document: RecordsDocument, revision: u64) {
        *self.records.lock().unwrap() = Some((document, revision));
    }

    fn go_away(&self) {
        *self.away.lock().unwrap() = true;
    }
}

#[tonic::async_trait]
impl ClaimService for Control {
    async fn authorize_issuance(
        &self,
        _: Request<AuthorizeIssuanceRequest>,
    ) -> Result<Response<AuthorizeIssuanceResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn get_expected_records(
        &self,
        request: Request<GetExpectedRecordsRequest>,
    ) -> Result<Response<GetExpectedRecordsResponse>, Status> {
        if *self.away.lock().unwrap() {
            return Err(Status::unavailable("away"));
        }
        let asked = request.into_inner();
        let known = self.records.lock().unwrap().clone();
        let known = known.filter(|(document, _)| {
            document.domain == asked.domain && document.workspace_id == asked.workspace_id
        });
        match known {
            Some((document, revision)) => {
                Ok(Response::new(GetExpectedRecordsResponse { records: Some(document), revision }))
            }
            None => Err(Status::not_found("no such domain")),
        }
    }
}

struct World {
    folder: TempDir,
    clock: Arc<SetClock>,
    root: Root,
    bus: SharedBus,
    control: Control,
    control_at: SocketAddr,
    name_server: NameServer,
    port: u16,
    shutdown: Shutdown,
    at: SocketAddr,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn world() -> World {
    let (port, [name_server]) = start::<1>().await;
    name_server.set(ZONE);
    let control = Control::default();
    let shutdown = Shutdown::new();
    let mut services = services(Known::here([("fleet".to_owned(), fleet())]));
    services.add(ClaimServiceServer::new(control.clone())).await;
    let control_at = serve(services, &shutdown).await;
    let mut world = World {
        folder: tempfile::tempdir().unwrap(),
        clock: SetClock::at("2026-11-23T10:00:00Z".parse::<Timestamp>().unwrap()),
        root: Root::from_pkcs8(&new_key().unwrap()).unwrap(),
        bus: EmbeddedBus::new(&[]),
        control,
        control_at,
        name_server,
        port,
        shutdown,
        at: control_at,
    };
    world.at = world.start().await;
    world
}

fn fleet() -> Caller {
    Caller::new("fleet", "", Role::Service)
}

/// Services in front of which the RPCs' own rules stand.
fn services(known: Known) -> Services {
    let role = |need| match need {
        wire::access::Need::Service => Role::Service,
        _ => Role::ReadOnly,
    };
    let rules = wire::access::rpcs().into_iter().map(|rpc| {
        let need = Need::Role(role(rpc.need));
        (rpc.path, Some(Rule { need, changes: rpc.changes, emergency: false, about: None }))
    });
    let access = Access::new(Rules::new(rules).unwrap(), known, Limits::default());
    Services::new(wire::DESCRIPTORS, access).unwrap()
}

async fn serve(services: Services, shutdown: &Shutdown) -> SocketAddr {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(services.serve(listener, shutdown.clone()));
    at
}

impl World {
    /// Starts the service on the world's store, bus and servers.
    async fn start(&self) -> SocketAddr {
        let config = Config { resolvers: vec![address(1, self.port)], ..Config::default() };
        let started = crate::start(Parts {
            config,
            data_dir: self.folder.path().to_owned(),
            bus: self.bus.clone(),
            trust: Trust::pin(self.root.public_key()),
            signer: self.signer("dns", STATUS_BUCKET),
            control: connect(self.control_at, "fleet"),
            clock: self.clock.clone(),
            shutdown: self.shutdown.clone(),
        });
        let dns = started.await.unwrap();
        let caller = |name: &str, workspace: &str, role| {
            (name.to_owned(), Caller::new(name, workspace, role))
        };
        let mut services = services(Known::here([
            caller("acme", "acme", Role::ReadOnly),
            caller("other", "other", Role::PlatformAdmin),
            ("fleet".to_owned(), fleet()),
        ]));
        dns.add_to(&mut services).await;
        tokio::spawn(dns.run());
        serve(services, &self.shutdown).await
    }

    fn signer(&self, name: &str, bucket: &str) -> Signer {
        Signer::delegated_by(&self.root, name, &new_key().unwrap(), &[bucket]).unwrap()
    }

    /// Puts control's document on the bus; a tombstone for none.
    async fn tell(&self, revision: u64, document: Option<RecordsDocument>) {
        let signer = self.signer("control", RECORDS_BUCKET);
        let place = Place { revision, position: revision };
        let envelope = match document {
            Some(document) => signer.seal(RECORDS_BUCKET, "claim-1", place, &document),
            None => signer.tombstone(RECORDS_BUCKET, "claim-1", place),
        };
        self.bus.put(RECORDS_BUCKET, "claim-1", envelope.into()).await.unwrap();
    }

    /// A second pair of hands on the service's tables.
    async fn store(&self) -> Store {
        let url = format!("sqlite://{}", self.folder.path().join("dns.db").display());
        Store::open(&url, "dns", crate::sql::STEPS).await.unwrap()
    }

    /// What the bus says of the claim: none before anything was told, `Some(None)` once taken back.
    async fn told(&self) -> Option<Option<DnsStatusDocument>> {
        let entry = self.bus.get(STATUS_BUCKET, "claim-1").await.unwrap()?;
        let trust = Trust::pin(self.root.public_key());
        let opened = trust.open(STATUS_BUCKET, "claim-1", &entry.value).unwrap();
        Some(opened.document().unwrap())
    }

    fn client(&self, token: &str) -> RecordServiceClient<Peer> {
        RecordServiceClient::new(connect(self.at, token))
    }

    async fn list(&self, token: &str) -> Result<HashMap<String, Record>, Status> {
        let request = ListRecordsRequest { domain: "Example.TEST.".into(), ..Default::default() };
        let response = self.client(token).list_records(request).await?.into_inner();
        Ok(response.items.into_iter().map(|item| (item.name.clone(), item)).collect())
    }

    async fn check(&self) -> HashMap<String, Record> {
        let request = CheckRecordsRequest { domain: "example.test".into(), ..Default::default() };
        let response = self.client("acme").check_records(request).await.unwrap().into_inner();
        response.items.into_iter().map(|item| (item.name.clone(), item)).collect()
    }

    async fn txt_status(&self) -> (RecordStatus, String) {
        let items = self.list("acme").await.unwrap();
        let txt = &items["_mta-sts.example.test"];
        (txt.status(), txt.hint_code.clone())
    }
}

fn connect(at: SocketAddr, token: &str) -> Peer {
    peer(&format!("http://{at}"), &Secret::new(token.to_owned())).unwrap()
}

/// Asks again until it holds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_document_on_the_bus_is_looked_for_and_what_is_found_is_told() {
    let world = world().await;
    world.control.commit(document("abc123"), 1);
    world.tell(1, Some(document("abc123"))).await;
    eventually("told", || async { world.told().await.is_some() }).await;
    let told = world.told().await.flatten().unwrap();
    assert!(told.cname_live && told.txt_live && told.proof_seen && !told.txt_absent, "{told:?}");
    assert_eq!(told.found_policy_id, "abc123");

    let items = world.list("acme").await.unwrap();
    let cname = &items["mta-sts.example.test"];
    assert_eq!(cname.status(), RecordStatus::Live);
    assert_eq!(cname.value, "a1b2c3d4e5f6a7b8.eu-1.region.test");
    assert_eq!((cname.r#type.as_str(), cname.found.as_str()), ("CNAME", cname.value.as_str()));
    assert_eq!(items["_mta-sts.example.test"].value, "v=STSv1; id=abc123;");
    let reports = &items["_smtp._tls.example.test"];
    assert_eq!(reports.status(), RecordStatus::RegionIntakeNotConfigured);
}

#[tokio::test]
async fn a_claim_that_is_not_yet_known_is_asked_for_and_checked_at_once() {
    let world = world().await;
    world.control.commit(document("abc123"), 1);
    let items = world.check().await;
    assert_eq!(items["_mta-sts.example.test"].status(), RecordStatus::Live);
    assert!(items["_mta-sts.example.test"].checked_at.is_some());
}

#[tokio::test]
async fn records_are_shown_to_their_own_workspace_only() {
    let world = world().await;
    world.control.commit(document("abc123"), 1);
    world.tell(1, Some(document("abc123"))).await;
    let refused = world.list("other").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("activate hosting"), "{}", refused.message());

    // A person can't name another workspace; a service can.
    let request = ListRecordsRequest { domain: "example.test".into(), workspace_id: "acme".into() };
    let refused = world.client("other").list_records(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(world.client("fleet").list_records(request).await.is_ok());

    // Also while control is away, and only what is stored can answer.
    world.control.go_away();
    assert_eq!(world.list("other").await.unwrap_err().code(), Code::Unavailable);
    assert!(world.list("acme").await.is_ok());
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let world = world().await;
    let request = ListRecordsRequest { domain: "not a name".into(), ..Default::default() };
    let refused = world.client("acme").list_records(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_changed_value_is_a_mismatch_from_the_moment_of_the_change() {
    let world = world().await;
    world.control.commit(document("abc123"), 1);
    assert_eq!(world.check().await["_mta-sts.example.test"].status(), RecordStatus::Live);

    let former_policy_ids = vec!["abc123".into()];
    world.control.commit(RecordsDocument { former_policy_ids, ..document("def456") }, 2);
    assert_eq!(world.txt_status().await, (RecordStatus::Mismatch, "OLD_ID".into()));
    world.name_server.set(&ZONE.replace("abc123", "def456"));
    assert_eq!(world.check().await["_mta-sts.example.test"].status(), RecordStatus::Live);
    // An older document changes nothing.
    world.tell(1, Some(document("abc123"))).await;
    assert_eq!(world.txt_status().await.0, RecordStatus::Live);
}

#[tokio::test]
async fn until_the_policy_is_served_there_is_nothing_to_publish() {
    let world = world().await;
    world.control.commit(document(""), 1);
    let items = world.list("acme").await.unwrap();
    let txt = &items["_mta-sts.example.test"];
    assert_eq!((txt.value.as_str(), txt.hint_code.as_str()), ("", "WAITING_FOR_EDGES"));
    assert_eq!(txt.status(), RecordStatus::NotPublished);
}

#[tokio::test]
async fn a_failed_look_keeps_the_status_and_says_why() {
    let world = world().await;
    world.control.commit(document("abc123"), 1);
    world.check().await;
    world.name_server.misbehave(Quirk::Code(ResponseCode::ServFail));
    let txt = world.check().await.remove("_mta-sts.example.test").unwrap();
    assert_eq!(txt.status(), RecordStatus::Live);
    assert!(txt.check_error.contains("SERVFAIL"), "{}", txt.check_error);
    assert_eq!(txt.hint_code, "SERVFAIL");
    eventually("told", || async { world.told().await.is_some() }).await;
    let told = world.told().await.flatten().unwrap();
    assert!(told.txt_live && !told.txt_absent && told.found_policy_id == "abc123", "{told:?}");
}

#[tokio::test]
async fn a_domain_is_looked_at_again_when_it_is_time() {
    let world = world().await;
    world.name_server.set(&ZONE.replace("_mta-sts.example.test TXT", "x.example.test TXT"));
    world.control.commit(document("abc123"), 1);
    world.tell(1, Some(document("abc123"))).await;
    let absent = || async { world.told().await.flatten().is_some_and(|told| told.txt_absent) };
    eventually("absent", absent).await;
    world.name_server.set(ZONE);
    world.clock.advance(SignedDuration::from_secs(2));
    let live = || async { world.told().await.flatten().is_some_and(|told| told.txt_live) };
    eventually("live", live).await;
}

#[tokio::test]
async fn a_tombstone_ends_the_watch_for_good() {
    let world = world().await;
    world.control.commit(document("abc123"), 3);
    world.tell(3, Some(document("abc123"))).await;
    eventually("told", || async { world.told().await.is_some() }).await;
    world.tell(4, None).await;
    eventually("taken back", || async { world.told().await == Some(None) }).await;
    // What was removed does not come back by an older document, nor by an older word of control.
    world.tell(3, Some(document("abc123"))).await;
    assert_eq!(world.list("acme").await.unwrap_err().code(), Code::NotFound);
    world.tell(5, Some(document("abc123"))).await;
    eventually("told again", || async { matches!(world.told().await, Some(Some(_))) }).await;
}

#[tokio::test]
async fn a_bus_that_lost_everything_is_filled_again() {
    let mut world = world().await;
    world.control.commit(document("abc123"), 1);
    world.check().await;
    eventually("told", || async { world.told().await.is_some() }).await;
    let before = world.bus.get(STATUS_BUCKET, "claim-1").await.unwrap().unwrap();

    world.shutdown.cancel();
    world.shutdown = Shutdown::new();
    world.bus = EmbeddedBus::new(&[]);
    world.at = world.start().await;
    eventually("told again", || async { world.told().await.is_some() }).await;
    let after = world.bus.get(STATUS_BUCKET, "claim-1").await.unwrap().unwrap();
    let trust = Trust::pin(world.root.public_key());
    let place = |value: &[u8]| trust.open(STATUS_BUCKET, "claim-1", value).unwrap().place;
    assert!(place(&after.value).revision >= place(&before.value).revision);
    assert!(place(&after.value).position >= place(&before.value).position);
}

#[tokio::test]
async fn only_services_observe_proofs() {
    let world = world().await;
    let request = ObserveProofRequest { domain: "example.test".into() };
    let refused = world.client("other").observe_proof(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let observed = world.client("fleet").observe_proof(request).await.unwrap().into_inner();
    assert_eq!(observed.servers.len(), 1, "{observed:?}");
    assert_eq!(observed.servers[0].cname_target, "a1b2c3d4e5f6a7b8.eu-1.region.test");
}

#[tokio::test]
async fn a_document_that_nobody_vouches_for_is_passed_over() {
    let world = world().await;
    let stranger = Root::from_pkcs8(&new_key().unwrap()).unwrap();
    let key = new_key().unwrap();
    let signer = Signer::delegated_by(&stranger, "control", &key, &[RECORDS_BUCKET]).unwrap();
    let place = Place { revision: 1, position: 1 };
    let forged = signer.seal(RECORDS_BUCKET, "claim-2", place, &document("abc123"));
    world.bus.put(RECORDS_BUCKET, "claim-2", forged.into()).await.unwrap();
    world.tell(1, Some(document("abc123"))).await;
    eventually("told", || async { world.told().await.is_some() }).await;
    assert!(world.bus.get(STATUS_BUCKET, "claim-2").await.unwrap().is_none());
}

#[tokio::test]
async fn a_claim_whose_check_fails_is_put_off_and_holds_up_no_other() {
    let world = world().await;
    let store = world.store().await;
    let now = world.clock.now();
    let broken = RecordsDocument { claim_id: "broken".into(), ..document("abc123") };
    let long_ago = now - SignedDuration::from_hours(1);
    // What nobody can read, and due before all others.
    let mut write = store.write().await.unwrap();
    sqlx::query(
        "INSERT INTO watched (claim_id, revision, workspace_id, domain, document, changed_at, \
                              next_check_at) VALUES ($1, 1, 'acme', $2, x'ff', $3, $3)",
    )
    .bind(&broken.claim_id)
    .bind(&broken.domain)
    .bind(long_ago.as_millisecond())
    .execute(&mut *write)
    .await
    .unwrap();
    write.commit().await.unwrap();
    // Slow enough for the failure to come in between.
    world.name_server.misbehave(Quirk::Slow(Duration::from_millis(200)));
    world.tell(1, Some(document("abc123"))).await;
    eventually("told", || async { world.told().await.is_some() }).await;
    let due = crate::sql::due(&store, now, 10).await.unwrap();
    assert!(due.iter().all(|due| due.claim_id != "broken"), "{due:?}");
    let later = crate::sql::due(&store, now + SignedDuration::from_secs(2), 10).await.unwrap();
    assert!(later.iter().any(|due| due.claim_id == "broken" && due.pause_ms >= 1_000), "{later:?}");
}
