//! The services as they stand on a listener, behind what checks every call.

use service::Shutdown;
use service::access::{Access, Known, Limits, Need, Rule, Rules};
use service::caller::{Caller, Role};
use service::config::Secret;
use service::grpc::{Services, bind};
use service::peer::{Peer, peer};
use tonic::{Code, Request, Response, Status};
use wire::access::Need as WireNeed;
use wire::audit::{AuditChain, AuditFilter, AuditRecord};
use wire::issuer::audit_trail_service_client::AuditTrailServiceClient;
use wire::issuer::certificate_service_client::CertificateServiceClient;
use wire::issuer::{
    AuditTrailPlace, ListAuditTrailRequest, ReissueCertificateRequest, ReissueCertificateResponse,
    VerifyAuditTrailRequest,
};
use wire::json::to_json;
use wire::status::told;

use super::world::{World, wait_for};
use crate::Issuer;

/// A listener that knows these tokens: a service of the fleet's, two owners', and a reader's.
struct Listener {
    address: String,
    shutdown: Shutdown,
}

impl Listener {
    async fn of(world: &World) -> Listener {
        let shutdown = Shutdown::new();
        let issuer = Issuer { core: world.core.clone(), shutdown: shutdown.clone() };
        let caller = |token: &str, workspace: &str, role| {
            (token.to_owned(), Caller::new(&format!("token:{token}"), workspace, role))
        };
        let known = Known::here([
            caller("fleet", "default", Role::Service),
            caller("alice", "acme", Role::DomainManager),
            caller("bob", "acme", Role::PlatformAdmin),
            caller("reader", "acme", Role::ReadOnly),
        ]);
        let rules = Rules::new(wire::access::rpcs().into_iter().map(|rpc| {
            let need = match rpc.need {
                WireNeed::Unspecified | WireNeed::Nothing => Need::Nothing,
                WireNeed::ReadOnly => Need::Role(Role::ReadOnly),
                WireNeed::DomainManager => Need::Role(Role::DomainManager),
                WireNeed::PlatformAdmin => Need::Role(Role::PlatformAdmin),
                WireNeed::Service => Need::Role(Role::Service),
            };
            let (changes, emergency, about) = (rpc.changes, rpc.emergency, rpc.domain);
            (rpc.path, Some(Rule { need, changes, emergency, about }))
        }));
        let access = Access::new(rules.unwrap(), known, Limits::default());
        let services = Services::new(wire::DESCRIPTORS, access).unwrap();
        issuer.add_to(&mut services.clone()).await;
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(services.serve(listener, shutdown.clone()));
        Listener { address, shutdown }
    }

    fn peer(&self, token: &str) -> Peer {
        peer(&self.address, &Secret::new(token.into())).unwrap()
    }

    async fn reissue(
        &self,
        token: &str,
        domain: &str,
        key: &str,
    ) -> Result<Response<ReissueCertificateResponse>, Status> {
        let mut request = Request::new(ReissueCertificateRequest { domain: domain.into() });
        request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
        CertificateServiceClient::new(self.peer(token)).reissue_certificate(request).await
    }

    async fn list(
        &self,
        token: &str,
        request: ListAuditTrailRequest,
    ) -> Result<Vec<AuditRecord>, Status> {
        let mut client = AuditTrailServiceClient::new(self.peer(token));
        Ok(client.list_audit_trail(request).await?.into_inner().items)
    }

    async fn verify(&self, token: &str, workspace: &str) -> Result<Vec<AuditChain>, Status> {
        let request = VerifyAuditTrailRequest { workspace_id: workspace.into() };
        let mut client = AuditTrailServiceClient::new(self.peer(token));
        Ok(client.verify_audit_trail(request).await?.into_inner().items)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn of_acme(limit: i32) -> ListAuditTrailRequest {
    ListAuditTrailRequest { workspace_id: "acme".into(), limit, ..Default::default() }
}

#[tokio::test]
async fn a_reply_that_was_lost_is_given_again_word_for_word() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    world.hosts("example.net", "acme").await;
    world.certificate("example.net").await;
    let listener = Listener::of(&world).await;
    let first = listener.reissue("alice", "example.com", "key-1").await.unwrap();
    assert!(first.metadata().get("idempotency-replayed").is_none());
    for _ in 0..3 {
        let again = listener.reissue("alice", "example.com", "key-1").await.unwrap();
        assert_eq!(again.metadata().get("idempotency-replayed").unwrap(), "true");
        assert_eq!(again.get_ref(), first.get_ref());
    }
    let other = listener.reissue("alice", "example.net", "key-1").await.unwrap_err();
    assert_eq!(told(&other).reason, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(world.core.db.reissues("example.com").await.unwrap().len(), 1);
    assert_eq!(world.core.db.reissues("example.net").await.unwrap().len(), 0);
}

#[tokio::test]
async fn who_may_only_look_reissues_nothing_and_leaves_no_record() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let listener = Listener::of(&world).await;
    let refused = listener.reissue("reader", "example.com", "key-1").await.unwrap_err();
    assert_eq!(told(&refused).reason, "ROLE_REQUIRED");
    assert_eq!(listener.list("fleet", of_acme(1_001)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn only_the_fleet_reads_the_trail() {
    let world = World::local().await;
    let listener = Listener::of(&world).await;
    for token in ["alice", "bob", "reader"] {
        let refused = listener.list(token, of_acme(1)).await.unwrap_err();
        assert_eq!(told(&refused).reason, "ROLE_REQUIRED", "{token}");
        let refused = listener.verify(token, "").await.unwrap_err();
        assert_eq!(told(&refused).reason, "ROLE_REQUIRED", "{token}");
    }
}

#[tokio::test]
async fn the_trail_is_listed_newest_first_and_goes_on_where_it_ended() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let listener = Listener::of(&world).await;
    listener.reissue("alice", "example.com", "key-1").await.unwrap();
    let filter = AuditFilter { action: "certificate.reissue".into(), ..Default::default() };
    let all = wait_for("its outcome", || async {
        let all = listener.list("fleet", of_acme(1_001)).await.unwrap();
        (all.len() == 3).then_some(all)
    })
    .await;
    let filtered = ListAuditTrailRequest { filter: Some(filter), ..of_acme(1_001) };
    let filtered = listener.list("fleet", filtered).await.unwrap();
    assert_eq!(filtered.len(), 1);
    let record = to_json("dmarcer.audit.v1.AuditRecord", &filtered[0]).unwrap();
    assert_eq!(record["service"], "issuer");
    assert_eq!(record["workspaceId"], "acme");
    assert_eq!(record["whoId"], "token:alice");
    assert_eq!(record["from"], "127.0.0.1");
    assert_eq!(record["about"], "example.com");
    assert_ne!(record["before"]["serial"], "");
    assert_eq!(record["after"]["region"], "eu-1");
    assert_eq!(record["hash"].as_str().unwrap().len(), 64);

    let mut one_by_one: Vec<AuditRecord> = Vec::new();
    for _ in 0..all.len() {
        let before = one_by_one.last().map(|last| AuditTrailPlace {
            at_milliseconds: last.at.unwrap().seconds * 1_000,
            sequence: last.sequence,
        });
        let request = ListAuditTrailRequest { before, ..of_acme(1) };
        one_by_one.extend(listener.list("fleet", request).await.unwrap());
    }
    assert_eq!(one_by_one, all);
    assert!(all.is_sorted_by(|newer, older| newer.sequence > older.sequence));
}

#[tokio::test]
async fn a_question_for_records_that_makes_no_sense_is_refused() {
    let world = World::local().await;
    let listener = Listener::of(&world).await;
    let no_date = wire::Timestamp { seconds: i64::MAX, nanos: 0 };
    let filter = |since, until| {
        let filter = Some(AuditFilter { since, until, ..Default::default() });
        ListAuditTrailRequest { filter, ..of_acme(1) }
    };
    let cases = [
        ("workspace_id", ListAuditTrailRequest { limit: 1, ..Default::default() }),
        ("limit", of_acme(0)),
        ("limit", of_acme(-1)),
        ("limit", of_acme(1_002)),
        ("filter.since", filter(Some(no_date), None)),
        ("filter.until", filter(None, Some(no_date))),
    ];
    for (field, request) in cases {
        let refused = listener.list("fleet", request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert_eq!(told(&refused).metadata["field"], field);
    }
}

#[tokio::test]
async fn a_record_that_was_changed_is_found() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let listener = Listener::of(&world).await;
    listener.reissue("alice", "example.com", "key-1").await.unwrap();
    let whole = listener.verify("fleet", "").await.unwrap();
    let names: Vec<_> = whole.iter().map(|chain| chain.workspace_id.as_str()).collect();
    assert_eq!(names, ["*", "acme"]);
    assert!(whole.iter().all(|chain| chain.problems.is_empty() && chain.service == "issuer"));

    let change = "UPDATE audit_records SET who = 'mallory' WHERE action = 'certificate.reissue'";
    assert_eq!(world.sql(change.into()).await, 1);
    let [chain] = listener.verify("fleet", "acme").await.unwrap().try_into().unwrap();
    assert_eq!(chain.problems.len(), 1, "{chain:?}");
    assert_eq!(chain.problems[0].sequence, 2);
}
