//! A region, an edge that acknowledges, and a control that answers; and the issuer among them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::AuditKey;
use bus::embedded::EmbeddedBus;
use bus::{Bytes, SharedBus};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use service::Shutdown;
use service::caller::{Call, Caller, Role};
use service::clock::{Clock, SetClock, SharedClock};
use service::config::Secret;
use service::page::PageTokens;
use service::sealed::Kek;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use wire::bus::{CertificateDocument, EdgeDocument, PolicyDocument, RegionDocument};
use wire::control::claim_service_server::{ClaimService, ClaimServiceServer};
use wire::control::{
    AuthorizeIssuanceRequest, AuthorizeIssuanceResponse, GetExpectedRecordsRequest,
    GetExpectedRecordsResponse,
};
use wire::envelope::{Opened, Place, Root, Signer, Trust, new_key};
use wire::issuer as v1;
use wire::issuer::certificate_service_server::CertificateService;
use wire::sealing::RegionKey;
use wire::time::to_wire;

use crate::api::Api;
use crate::order::advance;
use crate::sql::{NewOrder, Order, OrderStep, Reason};
use crate::{Config, Core, Kind, Parts, StartError, start};

const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until there is something.
///
/// # Panics
/// After the deadline, with what was waited for.
pub(super) async fn wait_for<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Where the issuer keeps its database.
pub(super) enum Folder {
    /// Until the end of the test.
    Own(tempfile::TempDir),
    /// Another process's too.
    Shared(PathBuf),
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        match self {
            Folder::Own(folder) => folder.path(),
            Folder::Shared(folder) => folder,
        }
    }
}

/// A database for one folder: SQLite in it, or where `DMARCER_TEST_POSTGRES` says, such as
/// `postgres://user@127.0.0.1/db`, a schema of its own.
pub(super) async fn store_url(folder: &Path) -> String {
    let Ok(server) = std::env::var("DMARCER_TEST_POSTGRES") else {
        return format!("sqlite://{}/issuer.db", folder.display());
    };
    let name = folder.file_name().unwrap_or_default().as_encoded_bytes();
    let schema = format!("t{}", data_encoding::HEXLOWER.encode(name));
    store::sqlx::any::install_default_drivers();
    let pool = store::sqlx::AnyPool::connect(&server).await.unwrap();
    let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    store::sqlx::query(store::sqlx::AssertSqlSafe(create)).execute(&pool).await.unwrap();
    pool.close().await;
    format!("{server}?options=-c%20search_path%3D{schema}")
}

/// The issuer and what is around it.
pub(super) struct World {
    pub(super) core: Arc<Core>,
    pub(super) clock: Arc<SetClock>,
    pub(super) control: FakeControl,
    pub(super) region_key: RegionKey,
    pub(super) folder: Folder,
    bus: SharedBus,
    root: Root,
    writer: Arc<Signer>,
    config: Config,
    store_url: String,
    shutdown: Shutdown,
    running: JoinHandle<()>,
    acknowledge: Arc<AtomicBool>,
    revision: Arc<AtomicU64>,
}

impl World {
    /// With the local CA.
    pub(super) async fn local() -> World {
        World::with(Config { kind: Kind::Local, ..Config::default() }).await
    }

    pub(super) async fn with(config: Config) -> World {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        World::at(config, tempfile::tempdir().unwrap(), SetClock::at(now)).await
    }

    pub(super) async fn at(
        config: Config,
        folder: tempfile::TempDir,
        clock: Arc<SetClock>,
    ) -> World {
        World::over(config, Folder::Own(folder), clock).await
    }

    pub(super) async fn in_folder(config: Config, folder: &Path, clock: Arc<SetClock>) -> World {
        World::over(config, Folder::Shared(folder.to_owned()), clock).await
    }

    async fn over(config: Config, folder: Folder, clock: Arc<SetClock>) -> World {
        let root = Root::from_pkcs8(&new_key().unwrap()).unwrap();
        let buckets = ["policies-*", "regions", "edges"];
        let writer = Signer::delegated_by(&root, "others", &new_key().unwrap(), &buckets).unwrap();
        let control = FakeControl::start().await;
        let bus: SharedBus = EmbeddedBus::new(&[]);
        let shutdown = Shutdown::new();
        let store_url = store_url(folder.path()).await;
        let parts =
            parts(&config, &store_url, &folder, &bus, &root, &control, &clock, &shutdown, 7);
        let issuer = start(parts).await.unwrap();
        let world = World {
            core: issuer.core.clone(),
            clock,
            control,
            region_key: RegionKey::generate().unwrap(),
            folder,
            bus,
            root,
            writer: Arc::new(writer),
            config,
            store_url,
            running: tokio::spawn(issuer.run()),
            shutdown,
            acknowledge: Arc::new(AtomicBool::new(true)),
            revision: Arc::new(AtomicU64::new(1)),
        };
        world.publish_region(&world.region_key.public.clone()).await;
        world.run_edge();
        world
    }

    /// Ends the issuer, and starts it on a bus that holds nothing.
    pub(super) async fn restart_on_an_empty_bus(&mut self) {
        self.shutdown.cancel();
        (&mut self.running).await.unwrap();
        self.bus = EmbeddedBus::new(&[]);
        self.shutdown = Shutdown::new();
        let issuer = start(self.parts(7)).await.unwrap();
        self.core = issuer.core.clone();
        self.running = tokio::spawn(issuer.run());
    }

    /// Ends the issuer, and starts it with another configuration.
    pub(super) async fn restart_with(&mut self, config: Config) {
        self.shutdown.cancel();
        (&mut self.running).await.unwrap();
        self.config = config;
        self.shutdown = Shutdown::new();
        let issuer = start(self.parts(7)).await.unwrap();
        self.core = issuer.core.clone();
        self.running = tokio::spawn(issuer.run());
    }

    /// Makes a domain's private key unreadable, until it is mended.
    pub(super) async fn spoil_key(&self, domain: &str) {
        self.change_certificate("order_id = 'spoilt-' || order_id", domain).await;
    }

    /// Takes back what [`World::spoil_key`] did, and has everything published again.
    pub(super) async fn mend_key(&self, domain: &str) {
        self.change_certificate("order_id = replace(order_id, 'spoilt-', '')", domain).await;
        self.core.publish.wake();
    }

    async fn change_certificate(&self, set: &str, domain: &str) {
        self.sql(format!("UPDATE certificates SET {set} WHERE domain = '{domain}'")).await;
    }

    /// What somebody does who has the database, and says how many rows it was.
    pub(super) async fn sql(&self, statement: String) -> u64 {
        let pool = store::sqlx::AnyPool::connect(&self.store_url).await.unwrap();
        let statement = store::sqlx::query(store::sqlx::AssertSqlSafe(statement));
        let rows = statement.execute(&pool).await.unwrap().rows_affected();
        pool.close().await;
        rows
    }

    pub(super) async fn start_with_other_kek(&self) -> Result<crate::Issuer, StartError> {
        start(self.parts(8)).await
    }

    fn parts(&self, kek: u8) -> Parts {
        let World { config, store_url, folder, bus, root, control, clock, shutdown, .. } = self;
        parts(config, store_url, folder, bus, root, control, clock, shutdown, kek)
    }

    pub(super) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A proven claim, and its policy in the region.
    pub(super) async fn hosts(&self, domain: &str, workspace: &str) {
        self.control.claim(domain, workspace, true);
        self.publish_policy(domain).await;
    }

    pub(super) async fn publish_policy(&self, domain: &str) {
        let revision = self.next_revision();
        self.republish_policy_as(domain, revision).await;
    }

    pub(super) async fn republish_policy_as(&self, domain: &str, revision: u64) {
        self.put_policy("eu-1", domain, revision).await;
    }

    pub(super) async fn publish_policy_in(&self, region: &str, domain: &str) {
        let revision = self.next_revision();
        self.put_policy(region, domain, revision).await;
    }

    pub(super) async fn publish_policy_of(&self, claim: &str, domain: &str) {
        let revision = self.next_revision();
        self.put_claimed_policy("eu-1", domain, revision, claim).await;
    }

    /// An order with a key that can't be opened, so that it does not get far.
    pub(super) async fn begun(&self, domain: &str, reason: Reason) -> Order {
        let db = &self.core.db;
        let new = NewOrder {
            id: format!("of {domain}"),
            domain: domain.to_owned(),
            region: "eu-1".into(),
            workspace: "acme".into(),
            reason,
            sealed_key: vec![1],
            asked_by: None,
            key_hash: None,
        };
        db.begin(&new, self.clock.now()).await.unwrap().unwrap();
        db.order(&new.id).await.unwrap().unwrap()
    }

    /// An order that goes on, and fails.
    pub(super) async fn failed(&self, order: &Order) -> Order {
        wait_for("it has failed", || async {
            // The loop may be at it too, and the faster one writes.
            let _ = advance(&self.core, &order.id).await;
            let order = self.core.db.order(&order.id).await.unwrap().unwrap();
            (order.step == OrderStep::Failed).then_some(order)
        })
        .await
    }

    async fn put_policy(&self, region: &str, domain: &str, revision: u64) {
        self.put_claimed_policy(region, domain, revision, "claim").await;
    }

    async fn put_claimed_policy(&self, region: &str, domain: &str, revision: u64, claim: &str) {
        let document = PolicyDocument {
            domain: domain.to_owned(),
            revision: 1,
            body: b"version: STSv1".to_vec(),
            claim_id: claim.to_owned(),
        };
        let place = Place { revision, position: revision };
        let bucket = format!("policies-{region}");
        let sealed = self.writer.seal(&bucket, domain, place, &document);
        // Keys that no bucket takes can't be put; those tests want the others.
        let _ = self.bus.put(&bucket, domain, sealed.into()).await;
    }

    pub(super) async fn remove_policy(&self, domain: &str) {
        let revision = self.next_revision();
        let place = Place { revision, position: revision };
        let sealed = self.writer.tombstone("policies-eu-1", domain, place);
        self.bus.put("policies-eu-1", domain, sealed.into()).await.unwrap();
    }

    pub(super) async fn publish_region(&self, sealing_key: &[u8]) {
        self.put_region("eu-1", sealing_key).await;
    }

    /// A region for which control allows nothing, and without edges.
    pub(super) async fn publish_other_region(&self, region: &str) {
        self.put_region(region, &RegionKey::generate().unwrap().public).await;
    }

    async fn put_region(&self, region: &str, sealing_key: &[u8]) {
        let document = RegionDocument {
            region_id: region.to_owned(),
            host: format!("{region}.sts.example"),
            sealing_key: sealing_key.to_vec(),
            ..Default::default()
        };
        let revision = self.next_revision();
        let place = Place { revision, position: revision };
        let sealed = self.writer.seal("regions", region, place, &document);
        self.bus.put("regions", region, sealed.into()).await.unwrap();
    }

    pub(super) async fn put_junk(&self, bucket: &str, key: &str) {
        self.bus.put(bucket, key, Bytes::from_static(b"junk")).await.unwrap();
    }

    /// Whether the region's edge acknowledges by itself.
    pub(super) fn edges_acknowledge(&self, acknowledge: bool) {
        self.acknowledge.store(acknowledge, Ordering::SeqCst);
    }

    /// What an edge says of how far it is.
    pub(super) async fn edge_says(&self, edge: &str, policies: u64, challenges: u64) {
        let revision = self.next_revision();
        say(&self.bus, &self.writer, edge, revision, (policies, challenges), self.clock.now())
            .await;
    }

    /// The region's edge is alive at the test's time of now.
    pub(super) async fn edge_breathes(&self) {
        for _ in 0..2 {
            self.edge_says("edge-1", u64::MAX >> 1, u64::MAX >> 1).await;
        }
        wait_for("the edge is live", || async {
            self.core.edges.passed("eu-1", self.clock.now()).map(drop)
        })
        .await;
    }

    /// An edge that serves at once whatever is published.
    fn run_edge(&self) {
        let (bus, writer, clock) = (self.bus.clone(), self.writer.clone(), self.clock.clone());
        let (acknowledge, revision) = (self.acknowledge.clone(), self.revision.clone());
        tokio::spawn(async move {
            loop {
                if acknowledge.load(Ordering::SeqCst) {
                    let revision = revision.fetch_add(1, Ordering::SeqCst);
                    let all = (u64::MAX >> 1, u64::MAX >> 1);
                    say(&bus, &writer, "edge-1", revision, all, clock.now()).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }

    /// What is under a key, believed.
    pub(super) async fn document(&self, bucket: &str, key: &str) -> Option<Opened> {
        let entry = self.bus.get(bucket, key).await.unwrap()?;
        let trust = Trust::pin(self.root.public_key());
        Some(trust.open(bucket, key, &entry.value).unwrap())
    }

    /// The published certificate of a domain, once there is one.
    pub(super) async fn certificate(&self, domain: &str) -> CertificateDocument {
        wait_for(&format!("a certificate of {domain}"), || async {
            let opened = self.document("certificates-eu-1", domain).await?;
            opened.document::<CertificateDocument>().unwrap()
        })
        .await
    }

    pub(super) async fn show(
        &self,
        workspace: &str,
        domain: &str,
    ) -> Result<v1::Certificate, Status> {
        let request = v1::GetCertificateRequest {
            domain: domain.to_owned(),
            workspace_id: "not heeded of a person".into(),
        };
        let answer = self.api().get_certificate(by(workspace, request)).await?;
        Ok(answer.into_inner().certificate.unwrap())
    }

    pub(super) async fn reissue(
        &self,
        workspace: &str,
        domain: &str,
    ) -> Result<v1::ReissueCertificateResponse, Status> {
        let by = Caller::new("test", workspace, Role::DomainManager);
        self.reissue_by(Call::from_here(by), domain).await
    }

    pub(super) async fn reissue_by(
        &self,
        call: Call,
        domain: &str,
    ) -> Result<v1::ReissueCertificateResponse, Status> {
        let message = v1::ReissueCertificateRequest { domain: domain.to_owned() };
        let mut request = Request::new(message);
        request.extensions_mut().insert(call);
        Ok(self.api().reissue_certificate(request).await?.into_inner())
    }

    pub(super) async fn orders(&self, workspace: &str, domain: &str) -> Vec<v1::Order> {
        self.orders_page(workspace, domain, 0, "").await.unwrap().items
    }

    pub(super) async fn orders_page(
        &self,
        workspace: &str,
        domain: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<v1::ListOrdersResponse, Status> {
        let request = v1::ListOrdersRequest {
            domain: domain.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        Ok(self.api().list_orders(by(workspace, request)).await?.into_inner())
    }

    fn api(&self) -> Api {
        Api { core: self.core.clone() }
    }

    fn next_revision(&self) -> u64 {
        self.revision.fetch_add(1, Ordering::SeqCst)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[allow(clippy::too_many_arguments, reason = "everything that the issuer is handed")]
fn parts(
    config: &Config,
    store_url: &str,
    folder: &Folder,
    bus: &SharedBus,
    root: &Root,
    control: &FakeControl,
    clock: &Arc<SetClock>,
    shutdown: &Shutdown,
    kek: u8,
) -> Parts {
    let key = new_key().unwrap();
    let buckets = ["certificates-*", "challenges-*"];
    let clock: SharedClock = clock.clone();
    Parts {
        config: config.clone(),
        store_url: store_url.to_owned(),
        kek: Kek::new(&[kek; 32]).unwrap(),
        bus: bus.clone(),
        trust: Trust::pin(root.public_key()),
        signer: Signer::delegated_by(root, "issuer", &key, &buckets).unwrap(),
        control: service::peer::peer(&control.address, &Secret::new("t".into())).unwrap(),
        pages: PageTokens::new(&[3; 32]),
        audit_key: AuditKey::new(&[9; 32]).unwrap(),
        clock,
        local_root_file: folder.path().join("local-ca.pem"),
        shutdown: shutdown.clone(),
    }
}

async fn say(
    bus: &SharedBus,
    writer: &Signer,
    edge: &str,
    revision: u64,
    (policies_position, challenges_position): (u64, u64),
    now: Timestamp,
) {
    let document = EdgeDocument {
        edge_id: edge.to_owned(),
        region_id: "eu-1".into(),
        policies_position,
        challenges_position,
        heard_at: Some(to_wire(now)),
        ..Default::default()
    };
    let sealed = writer.seal("edges", edge, Place { revision, position: 0 }, &document);
    bus.put("edges", edge, sealed.into()).await.unwrap();
}

fn by<T>(workspace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let caller = Caller::new("test", workspace, Role::DomainManager);
    request.extensions_mut().insert(Call::from_here(caller));
    request
}

pub(super) fn to_pem(chain: &[Vec<u8>]) -> String {
    let pem = |der: &Vec<u8>| {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    chain.iter().map(pem).collect()
}

/// A CA at an address where nothing listens.
pub(super) fn unreachable_ca() -> (Config, tempfile::TempPath) {
    let key = KeyPair::generate().unwrap();
    let root = CertificateParams::default().self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.pem()).unwrap();
    let path: PathBuf = file.path().to_owned();
    let config = Config {
        directory: "https://127.0.0.1:1/directory".into(),
        ca_file: Some(path),
        ..Config::default()
    };
    (config, file.into_temp_path())
}

/// Control's claim service, saying what the test says.
#[derive(Clone)]
pub(super) struct FakeControl {
    pub(super) address: String,
    state: Arc<Mutex<ControlState>>,
}

#[derive(Default)]
struct ControlState {
    /// By domain and workspace: whether it is proven.
    claims: HashMap<(String, String), bool>,
    asked: HashMap<String, u32>,
    away: bool,
}

impl FakeControl {
    async fn start() -> FakeControl {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = FakeControl {
            address: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
        };
        let service = ClaimServiceServer::new(control.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        control
    }

    pub(super) fn claim(&self, domain: &str, workspace: &str, proven: bool) {
        let key = (domain.to_owned(), workspace.to_owned());
        self.state.lock().unwrap().claims.insert(key, proven);
    }

    pub(super) fn away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    pub(super) fn asked(&self, domain: &str) -> u32 {
        self.state.lock().unwrap().asked.get(domain).copied().unwrap_or(0)
    }
}

#[tonic::async_trait]
impl ClaimService for FakeControl {
    async fn authorize_issuance(
        &self,
        request: Request<AuthorizeIssuanceRequest>,
    ) -> Result<Response<AuthorizeIssuanceResponse>, Status> {
        let AuthorizeIssuanceRequest { domain, region_id } = request.into_inner();
        let mut state = self.state.lock().unwrap();
        if state.away {
            return Err(Status::unavailable("away"));
        }
        *state.asked.entry(domain.clone()).or_default() += 1;
        let mut claims = state.claims.iter();
        let proven =
            claims.find(|((name, _), proven)| *name == domain && **proven && region_id == "eu-1");
        Ok(Response::new(AuthorizeIssuanceResponse {
            allowed: proven.is_some(),
            claim_id: "claim".into(),
            workspace_id: proven.map(|((_, workspace), _)| workspace.clone()).unwrap_or_default(),
        }))
    }

    async fn get_expected_records(
        &self,
        request: Request<GetExpectedRecordsRequest>,
    ) -> Result<Response<GetExpectedRecordsResponse>, Status> {
        let request = request.into_inner();
        let state = self.state.lock().unwrap();
        if state.away {
            return Err(Status::unavailable("away"));
        }
        let claim = state.claims.get(&(request.domain.clone(), request.workspace_id.clone()));
        let Some(proven) = claim else {
            return Err(Status::not_found("no such domain"));
        };
        let records = wire::bus::RecordsDocument {
            domain: request.domain,
            workspace_id: request.workspace_id,
            region_id: "eu-1".into(),
            proven: *proven,
            ..Default::default()
        };
        Ok(Response::new(GetExpectedRecordsResponse { records: Some(records), revision: 1 }))
    }
}
