//! A change that is asked for more than once is made once.

use std::collections::BTreeSet;
use std::time::Duration;

use dmarcer_tests::calls::{
    add_workspace, alone, by, by_admin, connect, make_token, raw, reason, refused, with,
};
use dmarcer_tests::lossy::Lossy;
use dmarcer_tests::{Failure, Outcome, Product, netns};
use tokio::task::JoinSet;
use tonic::{Code, Request};
use wire::access::Role;
use wire::control::token_service_client::TokenServiceClient;
use wire::{control, status};

use crate::{ADD_DOMAIN, CREATE_TOKEN, add, create, marked, names, recorded};

#[test]
fn a_key_that_was_used_for_something_else_is_refused() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let call = async |path: &str, asked: Request<Vec<u8>>| raw(&channel, path, asked).await;
            let first = call(ADD_DOMAIN, marked(add("a.example"), "k")).await.map_err(refused)?;
            for (what, path, message) in [
                ("another domain", ADD_DOMAIN, add("b.example")),
                ("another spelling", ADD_DOMAIN, add("A.example")),
                ("another call", CREATE_TOKEN, create("a.example")),
            ] {
                let said = call(path, marked(message, "k")).await;
                assert_eq!(reason(&said), "IDEMPOTENCY_KEY_REUSED", "{what}");
            }
            let again = call(ADD_DOMAIN, marked(add("a.example"), "k")).await.map_err(refused)?;
            assert_eq!(first, again);
            assert_eq!(names(&channel, Some(Product::TOKEN)).await?, ["a.example"]);

            // A key is its caller's own, and in each workspace another one.
            let other = make_token(&channel, "default", Role::DomainManager, &[]).await?;
            let theirs = with(by(Some(&other), add("b.example")), "idempotency-key", "k");
            call(ADD_DOMAIN, theirs).await.map_err(refused)?;
            add_workspace(&channel, "elsewhere").await?;
            let elsewhere = with(marked(add("c.example"), "k"), "dmarcer-workspace", "elsewhere");
            call(ADD_DOMAIN, elsewhere).await.map_err(refused)?;

            // A refusal is no change: the key is still good.
            let said = call(ADD_DOMAIN, marked(add("no domain"), "later")).await;
            assert_eq!(reason(&said), "INVALID_DOMAIN");
            call(ADD_DOMAIN, marked(add("d.example"), "later")).await.map_err(refused)?;
            Ok(())
        })
    })
}

/// Asks until it is answered, on a new connection each time.
async fn until_answered(server: &str, path: &str, message: &[u8], key: &str) -> Outcome<Vec<u8>> {
    for _ in 0..5 {
        let channel = connect(server).await?;
        match raw(&channel, path, marked(message.to_vec(), key)).await {
            Err(lost) if status::told(&lost).metadata.is_empty() && !lost.details().is_empty() => {
                return Err(refused(lost));
            }
            // The connection ended: nobody knows whether the change was made.
            Err(lost) if lost.details().is_empty() => {}
            Err(said) => return Err(refused(said)),
            Ok(answer) => return Ok(answer),
        }
    }
    Err(Failure::new(format!("{path} {key} was never answered")))
}

#[test]
fn a_change_whose_reply_was_lost_is_made_once_and_answered_alike() -> Outcome {
    netns::inside(|world| {
        alone(world, async |product, channel| {
            let lossy = Lossy::start("127.0.0.1:7443".parse()?, 3).await?;
            let direct = Product::SERVER;
            let mut expected = BTreeSet::new();
            for at in 0..15 {
                let (name, key) = (format!("lost-{at:02}.example"), format!("add-{at}"));
                let answer = until_answered(&lossy.server(), ADD_DOMAIN, &add(&name), &key).await?;
                let again = until_answered(direct, ADD_DOMAIN, &add(&name), &key).await?;
                assert_eq!(answer, again, "{name}");
                expected.insert(name);

                let (name, key) = (format!("token {at}"), format!("create-{at}"));
                let message = create(&name);
                let answer = until_answered(&lossy.server(), CREATE_TOKEN, &message, &key).await?;
                let again = until_answered(direct, CREATE_TOKEN, &message, &key).await?;
                assert_eq!(answer, again, "{name}");
            }
            assert!(lossy.lost() >= 10, "{} replies were lost", lossy.lost());

            // The command line does by itself what was done here by hand.
            let before = lossy.lost();
            for at in 0..9 {
                let name = format!("cli-{at}.example");
                let mut command = product.command(&["domain", "add", &name])?;
                command.env("DMARCER_SERVER", lossy.server());
                let output = tokio::task::spawn_blocking(move || command.output()).await??;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "{name}: {said}");
                expected.insert(name);
            }
            assert!(lossy.lost() > before, "the command line lost no reply");

            let added = names(&channel, Some(Product::TOKEN)).await?;
            assert_eq!(added.len(), expected.len());
            assert_eq!(added.into_iter().collect::<BTreeSet<_>>(), expected);
            let recorded_adds = recorded(&channel, "domain.add").await?;
            assert_eq!(recorded_adds.len(), expected.len(), "one record for each");
            let all = control::ListTokensRequest { page_size: 1000, ..Default::default() };
            let mut tokens = TokenServiceClient::new(channel.clone());
            let made = tokens.list_tokens(by_admin(all)).await.map_err(refused)?.into_inner();
            assert_eq!(made.items.len(), 15);
            Ok(())
        })
    })
}

#[test]
fn a_change_that_is_asked_for_twice_at_once_is_made_once() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            for round in 0..10 {
                let name = format!("twice-{round}.example");
                let mut calls = JoinSet::new();
                for _ in 0..8 {
                    let (name, key) = (name.clone(), format!("twice-{round}"));
                    calls.spawn(async move {
                        let channel = connect(Product::SERVER).await?;
                        let answer = raw(&channel, ADD_DOMAIN, marked(add(&name), &key)).await;
                        answer.map_err(refused)
                    });
                }
                let mut answers = BTreeSet::new();
                for answer in calls.join_all().await {
                    answers.insert(answer?);
                }
                assert_eq!(answers.len(), 1, "{name}: they are answered alike");
            }
            assert_eq!(recorded(&channel, "domain.add").await?.len(), 10);

            // Without a mark each is a change of its own: one is made, the others are told so.
            let mut calls = JoinSet::new();
            for _ in 0..8 {
                let channel = channel.clone();
                calls.spawn(async move {
                    reason(&raw(&channel, ADD_DOMAIN, by_admin(add("unmarked.example"))).await)
                });
            }
            let mut said = calls.join_all().await;
            said.sort();
            let mut expected = vec!["DOMAIN_EXISTS"; 7];
            expected.push("OK");
            assert_eq!(said, expected);
            Ok(())
        })
    })
}

#[test]
fn a_change_that_nobody_waited_for_is_made_once_when_it_is_asked_for_again() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            // From no time at all to about as long as it takes: some are given up in its middle.
            for at in 0..20_u64 {
                let (name, key) = (format!("late-{at:02}.example"), format!("late-{at}"));
                let mut hurried = marked(add(&name), &key);
                hurried.set_timeout(match at {
                    0 => Duration::from_nanos(1),
                    at => Duration::from_micros(at * 300),
                });
                if let Err(late) = raw(&channel, ADD_DOMAIN, hurried).await {
                    let code = late.code();
                    let late = [Code::Cancelled, Code::DeadlineExceeded];
                    assert!(late.contains(&code), "{name}: {code:?}");
                }
                // And some by hanging up.
                let hurried = raw(&channel, ADD_DOMAIN, marked(add(&name), &key));
                let _ = tokio::time::timeout(Duration::from_micros(at * 200), hurried).await;

                let answer = raw(&channel, ADD_DOMAIN, marked(add(&name), &key)).await;
                let answer = answer.map_err(refused)?;
                let again = raw(&channel, ADD_DOMAIN, marked(add(&name), &key)).await;
                assert_eq!(answer, again.map_err(refused)?, "{name}");
            }
            assert_eq!(names(&channel, Some(Product::TOKEN)).await?.len(), 20);
            assert_eq!(recorded(&channel, "domain.add").await?.len(), 20);
            Ok(())
        })
    })
}
