//! Texts, headers, numbers and bytes that nobody can mean.

use dmarcer_tests::calls::{
    alone, by, by_admin, connect, make_token, over_grpc, raw, reason, refused, with,
};
use dmarcer_tests::{Outcome, Product, netns};
use tokio::task::JoinSet;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use wire::access::{Need, Role, rpcs};
use wire::control::audit_service_client::AuditServiceClient;
use wire::control::domain_service_client::DomainServiceClient;
use wire::control::token_service_client::TokenServiceClient;
use wire::{audit, control, status};

use crate::{ADD_DOMAIN, LIST_DOMAINS, add, is_a_sentence, list, marked, names};

#[test]
fn whatever_text_is_sent_the_answer_is_a_sentence() -> Outcome {
    let long = "x".repeat(100_000);
    let odd = [
        "\u{0}",
        "a\r\nb: c",
        "\u{1b}[2Jx",
        "\u{202e}moc.elpmaxe",
        "'; DROP TABLE claims; --",
        "%_\\",
        "<script>alert(1)</script>",
        "$(reboot)`reboot`",
        "\u{feff}x\u{200b}",
        "../../../etc/passwd",
        &long,
    ];
    netns::inside(|world| {
        // More calls than the limits would take at once.
        let limits = "[limits]\ntoken_per_second = 10000\nworkspace_per_second = 10000\n";
        let product = Product::start_alone_with(world, limits)?;
        over_grpc(&product, async |_, channel| {
            let mut wrong = Vec::new();
            for rpc in rpcs().into_iter().filter(|rpc| rpc.need != Need::Service) {
                let mut calls = JoinSet::new();
                for text in odd {
                    let fields = [
                        "name",
                        "id",
                        "who",
                        "domain",
                        "host",
                        "reports",
                        "region",
                        "page_token",
                        "contains",
                        "workspace_id",
                        "redirect_uri",
                        "state",
                        "code",
                        "binding",
                        "issuer",
                    ];
                    let message = rpc.request(&fields.map(|field| (field, text)));
                    let (channel, path) = (channel.clone(), rpc.path.clone());
                    let shown: String = text.chars().take(30).collect();
                    calls.spawn(async move {
                        let answer = raw(&channel, &path, by_admin(message)).await;
                        answer.err().filter(|said| !is_a_sentence(said)).map(|said| {
                            let told = status::told(&said);
                            format!("{path} of {shown:?}: {} {:?}", told.reason, told.message)
                        })
                    });
                }
                wrong.extend(calls.join_all().await.into_iter().flatten());
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            assert_eq!(names(&channel, Some(Product::TOKEN)).await?, Vec::<String>::new());
            Ok(())
        })
    })
}

#[test]
fn what_can_not_be_read_is_said_to_be_so() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            // No message, a field cut off, a text that is none, and a length without end.
            let unreadable: [&[u8]; 4] = [
                b"\xff\xff\xff\xff",
                b"\x0a\x0bexample",
                b"\x0a\x02\xc3\x28",
                b"\x0a\xff\xff\xff\xff\x7f",
            ];
            for rpc in rpcs().into_iter().filter(|rpc| rpc.need != Need::Service) {
                // Those that take no fields, or another kind of first field, can read some of it.
                let message = unreadable[0];
                for marked in [false, true] {
                    let mut asked = by_admin(message.to_vec());
                    if marked {
                        asked = with(asked, "idempotency-key", "unreadable");
                    }
                    let said = raw(&channel, &rpc.path, asked).await;
                    assert_eq!(reason(&said), "REQUEST_UNREADABLE", "{} {marked}", rpc.path);
                }
            }
            for message in unreadable {
                let said = raw(&channel, ADD_DOMAIN, by_admin(message.to_vec())).await;
                assert_eq!(reason(&said), "REQUEST_UNREADABLE", "{message:?}");
                let code = said.map_err(|said| said.code());
                assert_eq!(code, Err(Code::InvalidArgument), "{message:?}");
            }
            // Fields that are not known yet are no fault: newer clients send them.
            let mut newer = add("newer.example");
            newer.extend(b"\xfa\x7f\x05later");
            assert_eq!(reason(&raw(&channel, ADD_DOMAIN, by_admin(newer)).await), "OK");
            Ok(())
        })
    })
}

#[test]
fn odd_headers_are_refused_or_left_alone() -> Outcome {
    netns::inside(|world| {
        alone(world, async |product, channel| {
            let call = async |request: Request<Vec<u8>>| raw(&channel, LIST_DOMAINS, request).await;
            for bytes in [&b"Bearer \xff\xfe\xfd"[..], b"Bearer a\tb", b"Bearer \xc3\xa4", b"\xff"]
            {
                let mut asked = Request::new(list());
                let header = MetadataValue::try_from(bytes)?;
                asked.metadata_mut().insert("authorization", header);
                let said = call(asked).await;
                assert_eq!(said.map_err(|it| it.code()), Err(Code::Unauthenticated), "{bytes:?}");
            }
            for header in ["Basic am91cm5leQ==", "bearer", "Bearer", "token x", "Bearer  "] {
                let asked = with(Request::new(list()), "authorization", header);
                assert_eq!(reason(&call(asked).await), "TOKEN_REQUIRED", "{header}");
            }
            let long = "w".repeat(65);
            for workspace in ["../default", "DEFAULT", "de fault", "'", "*", "platform", &long] {
                let said = call(with(by_admin(list()), "dmarcer-workspace", workspace)).await;
                let told = reason(&said);
                let right = ["WORKSPACE_NOT_FOUND", "INVALID_ARGUMENT", "INVALID_NAME"];
                assert!(right.contains(&told.as_str()), "{workspace}: {told}");
                assert!(said.is_err_and(|said| is_a_sentence(&said)), "{workspace}");
            }
            for key in ["", " ", "two words", "\t", &"k".repeat(256), "schl\u{fc}ssel"] {
                let mut asked = by_admin(add("odd-key.example"));
                let header = MetadataValue::try_from(key.as_bytes())?;
                asked.metadata_mut().insert("idempotency-key", header);
                let said = raw(&channel, ADD_DOMAIN, asked).await;
                assert_eq!(reason(&said), "IDEMPOTENCY_KEY_INVALID", "{key:?}");
            }
            let mut two = marked(add("odd-key.example"), "one");
            two.metadata_mut().append("idempotency-key", "two".parse()?);
            let said = raw(&channel, ADD_DOMAIN, two).await;
            assert_eq!(reason(&said), "IDEMPOTENCY_KEY_INVALID");
            assert_eq!(names(&channel, Some(Product::TOKEN)).await?, Vec::<String>::new());

            // A megabyte of headers, on a connection of its own: the server is unmoved.
            let large = connect(Product::SERVER).await?;
            let asked = with(by_admin(list()), "x-large", &"x".repeat(1 << 20));
            assert!(raw(&large, LIST_DOMAINS, asked).await.is_err());
            assert_eq!(reason(&call(by_admin(list())).await), "OK");
            let log = product.log()?;
            assert!(!log.contains("panicked"), "{log}");
            Ok(())
        })
    })
}

#[test]
fn a_page_token_is_good_for_its_caller_and_its_list_only() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let own = make_token(&channel, "default", Role::PlatformAdmin, &[]).await?;
            let other = make_token(&channel, "default", Role::PlatformAdmin, &[]).await?;
            for name in ["a.example", "b.example", "c.example"] {
                raw(&channel, ADD_DOMAIN, by_admin(add(name))).await.map_err(refused)?;
            }
            let page = async |token: &str, page_token: &str, contains: &str| {
                let list = control::ListDomainsRequest {
                    page_size: 1,
                    page_token: page_token.to_owned(),
                    contains: contains.to_owned(),
                };
                let mut domains = DomainServiceClient::new(channel.clone());
                Ok::<_, Status>(domains.list_domains(by(Some(token), list)).await?.into_inner())
            };
            let first = page(&own, "", "").await.map_err(refused)?;
            let next = first.next_page_token.clone();
            let second = page(&own, &next, "").await.map_err(refused)?;
            assert_eq!((&*first.items[0].name, &*second.items[0].name), ("a.example", "b.example"));

            let mut letters: Vec<char> = next.chars().collect();
            letters[3] = if letters[3] == 'A' { 'B' } else { 'A' };
            let changed: String = letters.into_iter().collect();
            let long = next.repeat(200);
            for (what, by, token, contains) in [
                ("somebody else's", &other, next.as_str(), ""),
                ("with another filter", &own, &next, "b"),
                ("changed", &own, &changed, ""),
                ("cut", &own, &next[..next.len() - 1], ""),
                ("a name", &own, "b.example", ""),
                ("forged", &own, "AAAAAAAAAAAAAAAAAAAAAGIuZXhhbXBsZQ", ""),
                ("long", &own, &long, ""),
            ] {
                let said = page(by, token, contains).await;
                assert_eq!(reason(&said), "INVALID_ARGUMENT", "{what}");
            }
            let mut elsewhere = 0;
            for rpc in rpcs() {
                let name = rpc.path.rsplit('/').next().unwrap_or_default();
                let pages = rpc.request(&[("page_token", "x")]) != rpc.request(&[]);
                if !pages || rpc.need == Need::Service || name == "ListDomains" {
                    continue;
                }
                let message =
                    rpc.request(&[("page_token", &next), (&rpc.domain_field, "a.example")]);
                let said = reason(&raw(&channel, &rpc.path, by(Some(&own), message)).await);
                // Orders are of hosted domains only.
                let right = ["INVALID_ARGUMENT", "DOMAIN_NOT_FOUND", "HOSTING_OFF", "NOT_FOUND"];
                assert!(right.contains(&said.as_str()), "{}: {said}", rpc.path);
                elsewhere += 1;
            }
            assert!(elsewhere >= 7, "{elsewhere}");
            Ok(())
        })
    })
}

#[test]
fn instants_and_sizes_beyond_all_measure_are_refused_or_cut() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let mut audit = AuditServiceClient::new(channel.clone());
            let seconds = [i64::MIN, -62_135_596_801, -1, 0, 253_402_300_799, i64::MAX];
            for seconds in seconds {
                for nanos in [0, -1, 999_999_999, i32::MAX] {
                    let at = Some(wire::Timestamp { seconds, nanos });
                    let filter = audit::AuditFilter { since: at, until: at, ..Default::default() };
                    let list = control::ListAuditRecordsRequest {
                        filter: Some(filter),
                        ..Default::default()
                    };
                    let said = audit.list_audit_records(by_admin(list)).await;
                    let told = reason(&said);
                    let right = ["OK", "INVALID_ARGUMENT"].contains(&told.as_str());
                    assert!(right, "{seconds} {nanos}: {told}");
                }
            }
            let mut tokens = TokenServiceClient::new(channel.clone());
            for page_size in [-1, i32::MIN] {
                let list = control::ListTokensRequest { page_size, ..Default::default() };
                let said = tokens.list_tokens(by_admin(list)).await;
                assert_eq!(reason(&said), "INVALID_ARGUMENT");
                let list = control::ListAuditRecordsRequest { page_size, ..Default::default() };
                let said = audit.list_audit_records(by_admin(list)).await;
                assert_eq!(reason(&said), "INVALID_ARGUMENT");
            }
            for (what, create) in [
                (
                    "a minute",
                    control::CreateTokenRequest { expires_after_seconds: 60, ..named("a") },
                ),
                (
                    "for ever",
                    control::CreateTokenRequest { expires_after_seconds: u32::MAX, ..named("a") },
                ),
                ("no name", named("")),
                ("a long name", named(&"n".repeat(65))),
                ("a name of lines", named("a\nb")),
                ("no such role", control::CreateTokenRequest { role: 999, ..named("a") }),
                (
                    "no such domain",
                    control::CreateTokenRequest {
                        role: Role::DomainManager.into(),
                        domains: vec!["no domain".into()],
                        ..named("a")
                    },
                ),
            ] {
                let said = tokens.create_token(by_admin(create)).await;
                let code = said.map_err(|said| said.code()).map(|_| ());
                assert_eq!(code, Err(Code::InvalidArgument), "{what}");
            }
            Ok(())
        })
    })
}

fn named(name: &str) -> control::CreateTokenRequest {
    control::CreateTokenRequest { name: name.to_owned(), ..Default::default() }
}
