//! Who may call what, as the RPCs in `proto/` say themselves.

use std::sync::Arc;

use hosting::Domain;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value,
};

pub use crate::generated::dmarcer::access::v1::{Need, Role};

/// Finds the domain that a request is about, in its one spelling.
///
/// `None` where the message can't be read, or names no domain: the handler says what is wrong.
pub type DomainOf = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// An RPC, and who may call it.
#[derive(Clone)]
pub struct Rpc {
    /// `/dmarcer.control.v1.DomainService/AddDomain`.
    pub path: String,
    /// What the caller has to be. [`Need::Unspecified`] where the RPC doesn't say.
    pub need: Need,
    /// It changes something.
    pub changes: bool,
    /// It is not held up by how much else somebody calls.
    pub emergency: bool,
    /// Present where it is about one domain.
    pub domain: Option<DomainOf>,
    /// The field of its request that names that domain; empty where it is about none.
    pub domain_field: String,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

impl Rpc {
    /// An encoded request with these fields, of those that it has, set to these texts.
    pub fn request(&self, texts: &[(&str, &str)]) -> Vec<u8> {
        let mut message = DynamicMessage::new(self.input.clone());
        for (name, text) in texts {
            let field = self.input.get_field_by_name(name);
            if let Some(field) = field.filter(|it| it.kind() == Kind::String && !it.is_list()) {
                message.set_field(&field, Value::String((*text).to_owned()));
            }
        }
        message.encode_to_vec()
    }

    /// An encoded answer as JSON; none where it is no answer of this RPC.
    pub fn answer(&self, encoded: &[u8]) -> Option<serde_json::Value> {
        let message = DynamicMessage::decode(self.output.clone(), encoded).ok()?;
        serde_json::to_value(message).ok()
    }
}

/// Every RPC of `proto/`, in the order of its path.
pub fn rpcs() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(crate::DESCRIPTORS).expect("our own descriptors can be read");
    let mut rpcs: Vec<Rpc> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(rpc)
        .collect();
    rpcs.sort_by(|a, b| a.path.cmp(&b.path));
    rpcs
}

fn rpc(method: MethodDescriptor) -> Rpc {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let rule = rule(&method).unwrap_or_default();
    let domain_field = rule.domain_field.clone();
    let domain =
        (!domain_field.is_empty()).then(|| domain_of(method.input(), domain_field.clone()));
    Rpc {
        path,
        need: rule.need(),
        changes: rule.changes,
        emergency: rule.emergency,
        domain,
        domain_field,
        input: method.input(),
        output: method.output(),
    }
}

fn rule(method: &MethodDescriptor) -> Option<crate::generated::dmarcer::access::v1::Rule> {
    let extension = method.parent_pool().get_extension_by_name("dmarcer.access.v1.rule")?;
    let options = method.options();
    match &*options.get_extension(&extension) {
        Value::Message(rule) => rule.transcode_to().ok(),
        _ => None,
    }
}

fn domain_of(input: MessageDescriptor, field: String) -> DomainOf {
    Arc::new(move |message| {
        let message = DynamicMessage::decode(input.clone(), message).ok()?;
        let name = message.get_field_by_name(&field)?;
        Domain::parse(name.as_str()?).ok().map(|domain| domain.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, control};

    #[test]
    fn every_rpc_says_who_may_call_it() {
        let silent: Vec<_> = rpcs()
            .into_iter()
            .filter(|rpc| rpc.need == Need::Unspecified)
            .map(|rpc| rpc.path)
            .collect();
        assert!(silent.is_empty(), "without (dmarcer.access.v1.rule): {silent:?}");
    }

    #[test]
    fn the_domain_of_a_request_is_found_in_its_one_spelling() {
        let rpcs = rpcs();
        let path = "/dmarcer.control.v1.PolicyService/PromotePolicy";
        let promote = rpcs.iter().find(|rpc| rpc.path == path).unwrap();
        assert_eq!((promote.need, promote.changes), (Need::DomainManager, true));
        let domain = promote.domain.as_ref().unwrap();
        let request = |name: &str| control::PromotePolicyRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let found = |name: &str| domain(&request(name).encode_to_vec());
        assert_eq!(found("Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(found("no domain"), None);
        assert_eq!(domain(b"\xff\xff"), None);
    }

    #[test]
    fn a_request_is_made_of_the_fields_that_the_rpc_has() {
        let path = "/dmarcer.control.v1.PolicyService/PromotePolicy";
        let promote = rpcs().into_iter().find(|rpc| rpc.path == path).unwrap();
        // `accept` is a list and `id` is no field of it.
        let texts = [("name", "example.com"), ("accept", "x"), ("id", "x")];
        let expected =
            control::PromotePolicyRequest { name: "example.com".into(), ..Default::default() };
        assert_eq!(promote.request(&texts), expected.encode_to_vec());
        let policy = control::Policy { revision: 7, ..Default::default() };
        let answer = control::PromotePolicyResponse { policy: Some(policy) }.encode_to_vec();
        assert_eq!(promote.answer(&answer).unwrap()["policy"]["revision"], "7");
        assert_eq!(promote.answer(b"\xff\xff"), None);
    }

    #[test]
    fn every_rule_names_a_field_that_there_is() {
        let pool = DescriptorPool::decode(crate::DESCRIPTORS).unwrap();
        for service in pool.services() {
            for method in service.methods() {
                let field = rule(&method).unwrap_or_default().domain_field;
                let there = field.is_empty() || method.input().get_field_by_name(&field).is_some();
                assert!(there, "{}: {field}", method.full_name());
            }
        }
    }
}
