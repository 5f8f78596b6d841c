//! A control with a bus of its own, peers played by [`Peers`], and edges played by the test.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::AuditKey;
use bus::embedded::EmbeddedBus;
use bus::{Bus, Bytes};
use jiff::Timestamp;
use service::Shutdown;
use service::caller::{Call, Caller, Role};
use service::clock::{Clock, SetClock};
use service::config::Secret;
use service::page::PageTokens;
use service::peer::peer;
use service::supervise::Signal;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use wire::control::domain_service_server::DomainService;
use wire::control::policy_service_server::PolicyService;
use wire::envelope::{Place, Root, Signer, Trust, new_key};
use wire::time::to_wire;
use wire::{bus as documents, control as v1, dns, intake, issuer};

use super::flaky::FlakyBus;
use crate::api::Api;
use crate::sql::Workspace;
use crate::{BUCKETS, Control, Core, FETCHES_CONSUMER, Parts, RegionConfig, start};

const DEADLINE: Duration = Duration::from_secs(10);
const DOMAIN: &str = "example.com";
/// Every advisory check, accepted by name.
const ADVISORY: &[&str] =
    &["fetched", "reports_recent", "reports_clean", "mx_tls", "testing_long_enough", "tlsrpt_live"];

pub(super) struct World {
    pub(super) api: Api,
    pub(super) core: Arc<Core>,
    pub(super) clock: Arc<SetClock>,
    pub(super) peers: Peers,
    folder: Arc<tempfile::TempDir>,
    bus: Arc<EmbeddedBus>,
    /// What control sees of the bus.
    pub(super) flaky: Arc<FlakyBus>,
    root: Arc<Root>,
    others: Signer,
    edge_documents: AtomicU64,
    acknowledged: AtomicU64,
    shutdown: Shutdown,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) fn request<T>(message: T) -> Request<T> {
    request_of("default", message)
}

pub(super) fn request_of<T>(workspace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let caller = Caller::new("a person", workspace, Role::PlatformAdmin);
    request.extensions_mut().insert(Call::from_here(caller));
    request
}

impl World {
    /// A region, and nothing else.
    pub(super) async fn start() -> World {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let root = Arc::new(Root::from_pkcs8(&new_key().unwrap()).unwrap());
        let clock = SetClock::at("2026-11-23T10:00:00Z".parse().unwrap());
        World::on(folder, root, clock, Peers::start().await).await
    }

    /// A domain that is hosted, proven, served by edge "a" and announced.
    pub(super) async fn hosted() -> World {
        let world = World::start().await;
        world.edge("a", 0, 0).await;
        world.activate().await;
        world.prove().await;
        world.peers.issue(7);
        let position = world.policy_position().await;
        world.edge("a", position, 7).await;
        let policy = world.policy_when(|policy| policy.pending_policy_id.is_none()).await;
        world.peers.publish_records(&policy.policy_id);
        world
    }

    pub(super) async fn restart_with_an_empty_bus(self) -> World {
        self.shutdown.cancel();
        let (folder, root) = (self.folder.clone(), self.root.clone());
        World::on(folder, root, self.clock.clone(), self.peers.clone()).await
    }

    async fn on(
        folder: Arc<tempfile::TempDir>,
        root: Arc<Root>,
        clock: Arc<SetClock>,
        peers: Peers,
    ) -> World {
        let bus = EmbeddedBus::new(&[("fetches", &[FETCHES_CONSUMER])]);
        let flaky = Arc::new(FlakyBus::over(bus.clone()));
        let signer = |name: &str, buckets: &[&str]| {
            Signer::delegated_by(&root, name, &new_key().unwrap(), buckets).unwrap()
        };
        let call = || peer(&peers.address, &Secret::new("t".to_owned())).unwrap();
        let shutdown = Shutdown::new();
        let region = RegionConfig {
            id: "eu-1".to_owned(),
            name: None,
            host: "eu-1.region.test".to_owned(),
            reports: None,
        };
        let control = start(Parts {
            store_url: store_url(folder.path()).await,
            regions: vec![region],
            region_keys: Arc::new(|_| Some(vec![7; 32])),
            bus: flaky.clone(),
            trust: Trust::pin(root.public_key()),
            signer: signer("control", BUCKETS),
            dns: call(),
            issuer: call(),
            intake: call(),
            admin_token: Secret::new("admin".to_owned()),
            sign_in: None,
            audit_key: AuditKey::new(&[5; 32]).unwrap(),
            pages: PageTokens::new(&[3; 32]),
            clock: clock.clone(),
            shutdown: shutdown.clone(),
        })
        .await
        .unwrap();
        let core = control.core.clone();
        add_other(&core).await;
        tokio::spawn(Control::run(control));
        World {
            api: Api::new(core.clone()),
            core,
            clock,
            peers,
            folder,
            bus,
            flaky,
            others: signer("others", &["edges", "dns-status"]),
            root,
            edge_documents: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            shutdown,
        }
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) async fn activate(&self) {
        let add = v1::AddDomainRequest { name: DOMAIN.to_owned(), kind: 0 };
        self.api.add_domain(request(add)).await.unwrap();
        let activate =
            v1::ActivateHostingRequest { name: DOMAIN.to_owned(), region: String::new() };
        self.api.activate_hosting(request(activate)).await.unwrap();
    }

    pub(super) async fn prove(&self) {
        let records = self.records().await;
        self.peers.answer_cname(&format!("{}.{}", records.nonce, records.region_host));
        // A look that found no proof puts off the next.
        self.clock.advance(jiff::SignedDuration::from_secs(5));
        self.say_proof_seen(&records.claim_id).await;
        self.core.signals.prove.wake();
        self.policy_document_when(|_| true).await;
    }

    /// A call of another workspace, whose claim to the domain is hosted, not proven.
    pub(super) async fn activate_elsewhere(&self, workspace: &str) {
        let add = v1::AddDomainRequest { name: DOMAIN.to_owned(), kind: 0 };
        self.api.add_domain(request_of(workspace, add)).await.unwrap();
        let activate =
            v1::ActivateHostingRequest { name: DOMAIN.to_owned(), region: String::new() };
        self.api.activate_hosting(request_of(workspace, activate)).await.unwrap();
    }

    /// Another workspace's claim to the domain.
    pub(super) async fn claim_of(&self, workspace: &str) -> crate::sql::ClaimRow {
        let workspace = workspace.parse().unwrap();
        let domain = hosting::Domain::parse(DOMAIN).unwrap();
        let pool = self.core.domains.store().read();
        crate::sql::ClaimRow::find(pool, &workspace, &domain).await.unwrap().unwrap()
    }

    /// The zone shows the claim of a workspace, on two looks that are minutes apart.
    pub(super) async fn move_to(&self, workspace: &str) {
        let claim = self.claim_of(workspace).await.claim;
        self.peers.answer_cname(&format!("{}.eu-1.region.test", claim.nonce));
        self.say_proof_seen(claim.id.as_str()).await;
        let proven = || async {
            self.clock.advance(jiff::SignedDuration::from_mins(6));
            self.peers.look_again(self.clock.now());
            self.core.signals.prove.wake();
            self.claim_of(workspace).await.claim.proven_at
        };
        until("the name to pass on", proven).await;
    }

    pub(super) async fn promote(&self) -> Result<Response<v1::PromotePolicyResponse>, Status> {
        let accept = ADVISORY.iter().map(|&id| id.to_owned()).collect();
        let call =
            v1::PromotePolicyRequest { name: DOMAIN.to_owned(), expected_revision: 0, accept };
        self.api.promote_policy(request(call)).await
    }

    pub(super) async fn revert(&self) -> Result<Response<v1::RevertPolicyResponse>, Status> {
        let call = v1::RevertPolicyRequest { name: DOMAIN.to_owned(), expected_revision: 0 };
        self.api.revert_policy(request(call)).await
    }

    /// An edge says how far it is.
    pub(super) async fn edge(&self, id: &str, policies: u64, certificates: u64) {
        self.say_edge(id, policies, certificates, Vec::new()).await;
    }

    pub(super) async fn edge_that_refused(&self, id: &str, position: u64) {
        let refused = documents::RefusedDocument {
            bucket: "policies-eu-1".to_owned(),
            key: DOMAIN.to_owned(),
            position,
            reason: "on purpose".to_owned(),
        };
        self.say_edge(id, position, 7, vec![refused]).await;
    }

    async fn say_edge(
        &self,
        id: &str,
        policies: u64,
        certificates: u64,
        refused: Vec<documents::RefusedDocument>,
    ) {
        let document = documents::EdgeDocument {
            edge_id: id.to_owned(),
            region_id: "eu-1".to_owned(),
            policies_position: policies,
            certificates_position: certificates,
            refused,
            ..Default::default()
        };
        // Revisions grow across a restart of control, as a real edge's do.
        let base = self.clock.now().as_millisecond().unsigned_abs();
        let revision = base + self.edge_documents.fetch_add(1, Ordering::SeqCst);
        let place = Place { revision, position: 0 };
        let envelope = self.others.seal("edges", id, place, &document);
        self.bus.put("edges", id, Bytes::from(envelope)).await.unwrap();
        self.acknowledged.fetch_max(policies, Ordering::SeqCst);
        let stored = || async {
            let edges = crate::sql::Edge::all(self.core.domains.store().read()).await.unwrap();
            edges.into_iter().find(|edge| edge.id == id && edge.revision == revision)
        };
        until("control hears the edge", stored).await;
    }

    /// The highest position that any edge has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(super) async fn say_proof_seen(&self, claim: &str) {
        self.say_status(
            claim,
            documents::DnsStatusDocument { proof_seen: true, ..Default::default() },
        )
        .await;
    }

    pub(super) async fn say_found(&self, policy_id: &str) {
        let claim = self.records().await.claim_id;
        let found_policy_id = policy_id.to_owned();
        self.say_status(
            &claim,
            documents::DnsStatusDocument { found_policy_id, ..Default::default() },
        )
        .await;
    }

    pub(super) async fn say_absent(&self) {
        let claim = self.records().await.claim_id;
        self.say_status(
            &claim,
            documents::DnsStatusDocument { txt_absent: true, ..Default::default() },
        )
        .await;
    }

    async fn say_status(&self, claim: &str, status: documents::DnsStatusDocument) {
        let status = documents::DnsStatusDocument {
            claim_id: claim.to_owned(),
            domain: DOMAIN.to_owned(),
            checked_at: Some(to_wire(self.clock.now())),
            ..status
        };
        let position = 1 + self.edge_documents.fetch_add(1, Ordering::SeqCst);
        let place = Place { revision: position, position };
        let envelope = self.others.seal("dns-status", claim, place, &status);
        self.bus.put("dns-status", claim, Bytes::from(envelope)).await.unwrap();
    }

    pub(super) async fn deactivate_unproven(&self) {
        let call = v1::DeactivateHostingRequest { name: DOMAIN.to_owned(), expected_revision: 0 };
        self.api.deactivate_hosting(request(call)).await.unwrap();
        self.domain_when(|hosting| hosting.state() == v1::HostingState::Off).await;
    }

    pub(super) async fn policy(&self) -> v1::Policy {
        let call = v1::GetPolicyRequest { name: DOMAIN.to_owned() };
        self.api.get_policy(request(call)).await.unwrap().into_inner().policy.unwrap()
    }

    pub(super) async fn policy_when(&self, right: impl Fn(&v1::Policy) -> bool) -> v1::Policy {
        until("the policy", || async { Some(self.policy().await).filter(&right) }).await
    }

    pub(super) async fn domain(&self) -> v1::Hosting {
        let call = v1::GetDomainRequest { name: DOMAIN.to_owned() };
        let domain = self.api.get_domain(request(call)).await.unwrap().into_inner().domain;
        domain.unwrap().hosting.unwrap()
    }

    pub(super) async fn domain_when(&self, right: impl Fn(&v1::Hosting) -> bool) -> v1::Hosting {
        until("the domain", || async { Some(self.domain().await).filter(&right) }).await
    }

    pub(super) async fn records(&self) -> documents::RecordsDocument {
        self.records_when(|_| true).await
    }

    pub(super) async fn records_when(
        &self,
        right: impl Fn(&documents::RecordsDocument) -> bool,
    ) -> documents::RecordsDocument {
        let read = || async {
            let mut watch = self.bus.watch("records", 0).await.unwrap();
            let entry = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
            let entry = entry.ok()?.unwrap();
            let trust = Trust::pin(self.root.public_key());
            let opened = trust.open("records", &entry.key, &entry.value).unwrap();
            opened.document().unwrap().filter(&right)
        };
        until("the records", read).await
    }

    pub(super) async fn policy_document(&self) -> Option<documents::PolicyDocument> {
        let (_, document) = self.policy_entry().await?;
        document
    }

    pub(super) async fn policy_document_when(
        &self,
        right: impl Fn(&documents::PolicyDocument) -> bool,
    ) -> documents::PolicyDocument {
        until("the policy's document", || async { self.policy_document().await.filter(&right) })
            .await
    }

    pub(super) async fn policy_tombstone(&self) {
        let gone = || async {
            let (_, document) = self.policy_entry().await?;
            document.is_none().then_some(())
        };
        until("the policy's tombstone", gone).await;
    }

    /// Where the newest policy document stands.
    pub(super) async fn policy_position(&self) -> u64 {
        let read = || async { Some(self.policy_entry().await?.0.position) };
        until("the policy's position", read).await
    }

    pub(super) async fn position_above(&self, position: u64) -> u64 {
        let read = || async { Some(self.policy_position().await).filter(|at| *at > position) };
        until("a newer document", read).await
    }

    /// What edges serve of another domain than the usual one.
    pub(super) async fn policy_document_of(
        &self,
        domain: &str,
    ) -> Option<documents::PolicyDocument> {
        self.policy_entry_of(domain).await?.1
    }

    async fn policy_entry(&self) -> Option<(Place, Option<documents::PolicyDocument>)> {
        self.policy_entry_of(DOMAIN).await
    }

    async fn policy_entry_of(
        &self,
        domain: &str,
    ) -> Option<(Place, Option<documents::PolicyDocument>)> {
        let entry = self.bus.get("policies-eu-1", domain).await.unwrap()?;
        let trust = Trust::pin(self.root.public_key());
        let opened = trust.open("policies-eu-1", domain, &entry.value).unwrap();
        Some((opened.place, opened.document().unwrap()))
    }

    /// Lets every loop look at the whole state: what has not happened then is not going to happen
    /// by itself.
    pub(super) async fn settle(&self) {
        let signals = &self.core.signals;
        let announce = [&signals.announce, &signals.announce_first];
        for signal in [&signals.publish, &signals.prove, announce[0], announce[1], &signals.stop] {
            round(signal).await;
        }
    }

    /// As [`World::settle`], for proofs alone.
    pub(super) async fn settle_proofs(&self) {
        round(&self.core.signals.prove).await;
    }

    /// As [`World::settle`], for what is published alone.
    pub(super) async fn settle_documents(&self) {
        round(&self.core.signals.publish).await;
    }
}

/// Lets a loop look at everything that is there now.
async fn round(signal: &Signal) {
    for _ in 0..2 {
        let before = signal.rounds();
        signal.wake();
        until("a round", || async { (signal.rounds() > before).then_some(()) }).await;
    }
}

/// A database for one folder: SQLite in it, or where `DMARCER_TEST_POSTGRES` says, such as
/// `postgres://user@127.0.0.1/db`, a schema of its own.
async fn store_url(folder: &Path) -> String {
    let Ok(server) = std::env::var("DMARCER_TEST_POSTGRES") else {
        return format!("sqlite://{}/control.db", folder.display());
    };
    let schema = format!("t{}", hex(folder.file_name().unwrap_or_default().as_encoded_bytes()));
    store::sqlx::any::install_default_drivers();
    let pool = store::sqlx::AnyPool::connect(&server).await.unwrap();
    let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    store::sqlx::query(store::sqlx::AssertSqlSafe(create)).execute(&pool).await.unwrap();
    pool.close().await;
    format!("{server}?options=-c%20search_path%3D{schema}")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A second tenant, unless it is there from before.
async fn add_other(core: &Core) {
    let mut write = core.domains.store().write().await.unwrap();
    let (other, now) = ("other".parse().unwrap(), core.clock.now());
    if Workspace::insert(&mut write, &other, "other", now).await.is_ok() {
        write.commit().await.unwrap();
    }
}

/// Waits for a state.
pub(super) async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let started = tokio::time::Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// dns, issuer and intake, as the test wants them.
#[derive(Clone)]
pub(super) struct Peers {
    address: String,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    failing: bool,
    cname: String,
    mx: Vec<String>,
    certificate_position: u64,
    published_id: String,
    check_error: String,
    observed_at: Option<Timestamp>,
    /// What each name server of a zone says, where a test tells them apart.
    servers: HashMap<String, Vec<dns::ServerAnswer>>,
}

impl Peers {
    async fn start() -> Peers {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mx = vec!["mx1.example.com".to_owned()];
        let said = Arc::new(Mutex::new(Said { mx, ..Default::default() }));
        let peers = Peers { address, said };
        use dns::record_service_server::RecordServiceServer;
        use intake::activity_service_server::ActivityServiceServer;
        use issuer::certificate_service_server::CertificateServiceServer;
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(
            Server::builder()
                .add_service(RecordServiceServer::new(peers.clone()))
                .add_service(CertificateServiceServer::new(peers.clone()))
                .add_service(ActivityServiceServer::new(peers.clone()))
                .serve_with_incoming(incoming),
        );
        peers
    }

    pub(super) fn answer_cname(&self, target: &str) {
        self.said.lock().unwrap().cname = target.to_owned();
    }

    /// What the name servers of a domain's zone say, each for itself.
    pub(super) fn answer_from_each(&self, domain: &str, servers: Vec<dns::ServerAnswer>) {
        self.said.lock().unwrap().servers.insert(domain.to_owned(), servers);
    }

    /// Says when later looks are made.
    pub(super) fn look_again(&self, at: Timestamp) {
        self.said.lock().unwrap().observed_at = Some(at);
    }

    pub(super) fn issue(&self, position: u64) {
        self.said.lock().unwrap().certificate_position = position;
    }

    pub(super) fn publish_records(&self, id: &str) {
        self.said.lock().unwrap().published_id = id.to_owned();
    }

    pub(super) fn uncover_mx(&self) {
        self.said.lock().unwrap().mx.push("mx2.example.net".to_owned());
    }

    pub(super) fn fail_looks(&self) {
        self.said.lock().unwrap().check_error = "no name server answers".to_owned();
    }

    pub(super) fn fail_all(&self) {
        self.said.lock().unwrap().failing = true;
    }

    fn say<T>(&self, answer: impl FnOnce(&Said) -> T) -> Result<Response<T>, Status> {
        let said = self.said.lock().unwrap();
        match said.failing {
            true => Err(Status::unavailable("on purpose")),
            false => Ok(Response::new(answer(&said))),
        }
    }

    fn records(said: &Said) -> Vec<dns::Record> {
        let live = !said.published_id.is_empty();
        ["mta-sts.example.com", "_mta-sts.example.com", "_smtp._tls.example.com"]
            .map(|name| dns::Record {
                name: name.to_owned(),
                status: match live {
                    true => dns::RecordStatus::Live.into(),
                    false => dns::RecordStatus::NotPublished.into(),
                },
                checked_at: Some(to_wire(Timestamp::now())),
                check_error: said.check_error.clone(),
                ..Default::default()
            })
            .to_vec()
    }
}

#[tonic::async_trait]
impl dns::record_service_server::RecordService for Peers {
    async fn list_records(
        &self,
        _: Request<dns::ListRecordsRequest>,
    ) -> Result<Response<dns::ListRecordsResponse>, Status> {
        self.say(|said| dns::ListRecordsResponse {
            items: Peers::records(said),
            next_page_token: String::new(),
        })
    }

    async fn check_records(
        &self,
        _: Request<dns::CheckRecordsRequest>,
    ) -> Result<Response<dns::CheckRecordsResponse>, Status> {
        self.say(|said| dns::CheckRecordsResponse {
            items: Peers::records(said),
            next_page_token: String::new(),
        })
    }

    async fn lookup_mx(
        &self,
        _: Request<dns::LookupMxRequest>,
    ) -> Result<Response<dns::LookupMxResponse>, Status> {
        self.say(|said| {
            let host = |host: &String| dns::MxHost { preference: 10, host: host.clone() };
            dns::LookupMxResponse {
                outcome: dns::MxOutcome::Hosts.into(),
                hosts: said.mx.iter().map(host).collect(),
                ..Default::default()
            }
        })
    }

    async fn observe_proof(
        &self,
        request: Request<dns::ObserveProofRequest>,
    ) -> Result<Response<dns::ObserveProofResponse>, Status> {
        let one = |said: &Said| dns::ServerAnswer {
            server: "ns1.example.com (192.0.2.53)".to_owned(),
            cname_target: said.cname.clone(),
            ..Default::default()
        };
        let domain = request.into_inner().domain;
        self.say(|said| dns::ObserveProofResponse {
            servers: said.servers.get(&domain).cloned().unwrap_or_else(|| vec![one(said)]),
            observed_at: Some(to_wire(said.observed_at.unwrap_or_else(Timestamp::now))),
            ..Default::default()
        })
    }
}

#[tonic::async_trait]
impl issuer::certificate_service_server::CertificateService for Peers {
    async fn get_certificate(
        &self,
        _: Request<issuer::GetCertificateRequest>,
    ) -> Result<Response<issuer::GetCertificateResponse>, Status> {
        self.say(|said| {
            let until = "2027-11-23T10:00:00Z".parse().unwrap();
            let certificate = issuer::Certificate {
                position: said.certificate_position,
                not_after: (said.certificate_position > 0).then(|| to_wire(until)),
                ..Default::default()
            };
            issuer::GetCertificateResponse { certificate: Some(certificate) }
        })
    }

    async fn reissue_certificate(
        &self,
        _: Request<issuer::ReissueCertificateRequest>,
    ) -> Result<Response<issuer::ReissueCertificateResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_orders(
        &self,
        _: Request<issuer::ListOrdersRequest>,
    ) -> Result<Response<issuer::ListOrdersResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }
}

#[tonic::async_trait]
impl intake::activity_service_server::ActivityService for Peers {
    async fn get_activity(
        &self,
        _: Request<intake::GetActivityRequest>,
    ) -> Result<Response<intake::GetActivityResponse>, Status> {
        self.say(|_| intake::GetActivityResponse::default())
    }
}
