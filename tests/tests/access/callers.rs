//! Every RPC, called by everybody.

use dmarcer_tests::calls::{alone, by, make_token, raw, reason};
use dmarcer_tests::{Outcome, Product, netns};
use tokio::task::JoinSet;
use tonic::Request;
use wire::access::{Role, rpcs};

use crate::{DOMAIN, Who, is_refused_access, refusal, request};

/// What the Domain manager of other domains may change.
const OTHER: &str = "other.example";

#[test]
fn every_rpc_lets_through_whom_its_rule_allows_and_nobody_else() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let token = |role, domains: &'static [&str]| {
                let channel = channel.clone();
                async move { make_token(&channel, "default", role, domains).await }
            };
            let callers = [
                ("nobody", Who::Nobody, None),
                ("read-only", Who::ReadOnly, Some(token(Role::ReadOnly, &[]).await?)),
                ("manager", Who::DomainManager, Some(token(Role::DomainManager, &[]).await?)),
                (
                    "manager of this domain",
                    Who::DomainManager,
                    Some(token(Role::DomainManager, &[DOMAIN]).await?),
                ),
                (
                    "manager of other domains",
                    Who::OtherDomains,
                    Some(token(Role::DomainManager, &[OTHER]).await?),
                ),
                ("admin", Who::PlatformAdmin, Some(token(Role::PlatformAdmin, &[]).await?)),
                ("first admin", Who::PlatformAdmin, Some(Product::TOKEN.to_owned())),
            ];
            let mut wrong = Vec::new();
            for rpc in rpcs() {
                let mut calls = JoinSet::new();
                for (name, who, token) in callers.clone() {
                    let (channel, rpc) = (channel.clone(), rpc.clone());
                    calls.spawn(async move {
                        let asked = by(token.as_deref(), request(&rpc));
                        (name, who, reason(&raw(&channel, &rpc.path, asked).await))
                    });
                }
                for (name, who, said) in calls.join_all().await {
                    let expected = refusal(&rpc, who);
                    let right = match expected {
                        Some(refusal) => said == refusal,
                        // It came to a handler, which could read it and is not broken.
                        None => {
                            let broken = ["INTERNAL", "UNIMPLEMENTED", "REQUEST_UNREADABLE"];
                            !is_refused_access(&said) && !broken.contains(&said.as_str())
                        }
                    };
                    if !right {
                        let expected = expected.unwrap_or("to be let through");
                        wrong.push(format!("{} by {name}: {said}, not {expected}", rpc.path));
                    }
                }
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            Ok(())
        })
    })
}

#[test]
fn health_and_reflection_are_open_and_what_has_no_rule_is_closed() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let ask = async |path: &str| reason(&raw(&channel, path, Request::new(vec![])).await);
            assert_eq!(ask("/grpc.health.v1.Health/Check").await, "OK");
            for path in [
                "/dmarcer.control.v1.DomainService/NoSuchCall",
                "/dmarcer.control.v1.NoSuchService/Call",
                "/dmarcer.control.v1.DomainService/ListDomains/",
                "//dmarcer.control.v1.DomainService/ListDomains",
                "/DMARCER.control.v1.DomainService/ListDomains",
                "/grpc.health.v1.Health",
                "/",
            ] {
                assert_eq!(ask(path).await, "UNIMPLEMENTED", "{path}");
            }
            Ok(())
        })
    })
}
