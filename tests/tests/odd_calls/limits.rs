//! Too many calls hold up who makes them, and nobody else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dmarcer_tests::calls::{add_workspace, alone, by, make_token, over_grpc, raw, reason};
use dmarcer_tests::{Failure, Outcome, Product, netns};
use tokio::task::JoinSet;
use tonic::Code;
use wire::access::Role;
use wire::{Message as _, control, status};

use crate::{LIST_DOMAINS, REVERT, is_a_sentence, list};

#[test]
fn a_thousand_calls_at_once_over_one_connection_are_all_answered() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let token = make_token(&channel, "default", Role::ReadOnly, &[]).await?;
            let mut calls = JoinSet::new();
            for _ in 0..1000 {
                let (channel, token) = (channel.clone(), token.clone());
                calls.spawn(async move {
                    reason(&raw(&channel, LIST_DOMAINS, by(Some(&token), list())).await)
                });
            }
            let said = calls.join_all().await;
            let answered = said.iter().filter(|reason| *reason == "OK").count();
            assert_eq!(answered, 1000, "{:?}", said.iter().collect::<BTreeSet<_>>());
            Ok(())
        })
    })
}

#[test]
fn who_calls_too_much_is_told_when_to_come_back_and_holds_up_nobody_else() -> Outcome {
    netns::inside(|world| {
        let limits = "[limits]\ntoken_per_second = 20\ntoken_at_once = 40\n\
                      workspace_per_second = 30\nworkspace_at_once = 100\n";
        let product = Product::start_alone_with(world, limits)?;
        over_grpc(&product, async |_, channel| {
            add_workspace(&channel, "busy").await?;
            add_workspace(&channel, "calm").await?;
            let busy = make_token(&channel, "busy", Role::DomainManager, &[]).await?;
            let colleague = make_token(&channel, "busy", Role::DomainManager, &[]).await?;
            let others = [
                make_token(&channel, "busy", Role::ReadOnly, &[]).await?,
                make_token(&channel, "busy", Role::ReadOnly, &[]).await?,
            ];
            let fresh = make_token(&channel, "busy", Role::ReadOnly, &[]).await?;
            let calm = make_token(&channel, "calm", Role::DomainManager, &[]).await?;
            let call = async |token: &str, path: &str, message: Vec<u8>| {
                raw(&channel, path, by(Some(token), message)).await
            };
            let exhaust = async |token: &str| {
                for _ in 0..200 {
                    let said = call(token, LIST_DOMAINS, list()).await;
                    if reason(&said) == "RATE_LIMITED" {
                        return said.err();
                    }
                }
                None
            };

            // One token's calls are too many: told when to come back, and right about it.
            let limited = exhaust(&busy).await.ok_or_else(|| Failure::new("never limited"))?;
            assert_eq!(limited.code(), Code::ResourceExhausted);
            let details = String::from_utf8_lossy(limited.details()).into_owned();
            assert!(details.contains("google.rpc.RetryInfo"), "{details:?}");
            let told = status::told(&limited);
            assert!(is_a_sentence(&limited), "{told:?}");
            assert_eq!(reason(&call(&colleague, LIST_DOMAINS, list()).await), "OK");
            assert_eq!(reason(&call(&calm, LIST_DOMAINS, list()).await), "OK");

            // What people need in an emergency is not held up by it.
            let revert =
                control::RevertPolicyRequest { name: "a.example".into(), ..Default::default() };
            let said = call(&busy, REVERT, revert.encode_to_vec()).await;
            assert_eq!(reason(&said), "DOMAIN_NOT_FOUND");

            // All of a workspace's tokens are: then another workspace is not held up either.
            for token in [&colleague, &others[0], &others[1]] {
                exhaust(token).await.ok_or_else(|| Failure::new("never limited"))?;
            }
            let said = call(&fresh, LIST_DOMAINS, list()).await;
            assert_eq!(reason(&said), "RATE_LIMITED", "the workspace's calls were too many");
            assert_eq!(reason(&call(&calm, LIST_DOMAINS, list()).await), "OK");
            let said = call(&busy, REVERT, revert.encode_to_vec()).await;
            assert_eq!(reason(&said), "DOMAIN_NOT_FOUND");

            // Seconds that were told are enough.
            let started = Instant::now();
            let wait = told.metadata.get("seconds").and_then(|text| text.parse().ok()).unwrap_or(1);
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let said = call(&busy, LIST_DOMAINS, list()).await;
            assert_eq!(reason(&said), "OK", "after {:?}", started.elapsed());
            Ok(())
        })
    })
}

#[test]
fn wrong_tokens_are_held_up_and_right_ones_from_the_same_place_are_not() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let own = make_token(&channel, "default", Role::ReadOnly, &[]).await?;
            let mut said = BTreeSet::new();
            for at in 0..100 {
                let guess = format!("dmr_guess{at}");
                said.insert(reason(&raw(&channel, LIST_DOMAINS, by(Some(&guess), list())).await));
            }
            let expected = ["RATE_LIMITED", "TOKEN_INVALID"].map(str::to_owned);
            assert_eq!(said, BTreeSet::from(expected));
            let answer = raw(&channel, LIST_DOMAINS, by(Some(&own), list())).await;
            assert_eq!(reason(&answer), "OK");
            Ok(())
        })
    })
}
