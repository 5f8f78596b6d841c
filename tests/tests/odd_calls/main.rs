//! Calls that go wrong, are made twice, or should never have been made: each is answered with a sentence,
//! and a change is made once or not at all.
//!
//! `texts.rs` sends what cannot be meant, `once.rs` asks for one change again and again, and `limits.rs`
//! calls too much.

mod limits;
mod once;
mod texts;

use dmarcer_tests::Outcome;
use dmarcer_tests::calls::{by, by_admin, refused, with};
use tonic::transport::Channel;
use tonic::{Request, Status};
use wire::control::audit_service_client::AuditServiceClient;
use wire::control::domain_service_client::DomainServiceClient;
use wire::{Message as _, audit, control, status};

const ADD_DOMAIN: &str = "/dmarcer.control.v1.DomainService/AddDomain";
const LIST_DOMAINS: &str = "/dmarcer.control.v1.DomainService/ListDomains";
const CREATE_TOKEN: &str = "/dmarcer.control.v1.TokenService/CreateToken";
const REVERT: &str = "/dmarcer.control.v1.PolicyService/RevertPolicy";

fn add(name: &str) -> Vec<u8> {
    control::AddDomainRequest { name: name.to_owned(), kind: 0 }.encode_to_vec()
}

fn create(name: &str) -> Vec<u8> {
    control::CreateTokenRequest { name: name.to_owned(), ..Default::default() }.encode_to_vec()
}

fn list() -> Vec<u8> {
    control::ListDomainsRequest::default().encode_to_vec()
}

/// A change of the admin's, marked.
fn marked(message: Vec<u8>, key: &str) -> Request<Vec<u8>> {
    with(by_admin(message), "idempotency-key", key)
}

async fn names(channel: &Channel, token: Option<&str>) -> Outcome<Vec<String>> {
    let all = control::ListDomainsRequest { page_size: 1000, ..Default::default() };
    let mut domains = DomainServiceClient::new(channel.clone());
    let listed = domains.list_domains(by(token, all)).await.map_err(refused)?;
    Ok(listed.into_inner().items.into_iter().map(|domain| domain.name).collect())
}

/// How often something was done, as the audit log has it.
async fn recorded(channel: &Channel, action: &str) -> Outcome<Vec<String>> {
    let filter = audit::AuditFilter { action: action.to_owned(), ..Default::default() };
    let list = control::ListAuditRecordsRequest {
        page_size: 1000,
        filter: Some(filter),
        ..Default::default()
    };
    let mut audit = AuditServiceClient::new(channel.clone());
    let listed = audit.list_audit_records(by_admin(list)).await.map_err(refused)?.into_inner();
    Ok(listed.items.into_iter().map(|record| record.about).collect())
}

/// What a refusal says is one line, whatever was sent.
fn is_a_sentence(refused: &Status) -> bool {
    let told = status::told(refused);
    !told.message.is_empty()
        && told.message.len() < 2000
        && !told.message.chars().any(char::is_control)
        && !told.metadata.values().flat_map(|text| text.chars()).any(char::is_control)
        && !["INTERNAL", "UNKNOWN"].contains(&told.reason.as_str())
}
