//! People sign in with a provider that is real, and with none that lies.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dmarcer_tests::identity_provider::{
    Browser, CLIENT_SECRET, HonestProvider, LyingProvider, Returned,
};
use dmarcer_tests::{Failure, Outcome, Product, World, netns, wait};
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::access::Role;
use wire::control::domain_service_client::DomainServiceClient;
use wire::control::member_service_client::MemberServiceClient;
use wire::control::sign_in_service_client::SignInServiceClient;
use wire::control::workspace_service_client::WorkspaceServiceClient;
use wire::{control, status};

/// Where a program on somebody's machine would listen.
const REDIRECT: &str = "http://127.0.0.1:48620/callback";

const GRANTS: &str = r#"
[[control.sign_in.grant]]
value = "mail-of-acme"
role = "domain-manager"
workspace = "acme"

[[control.sign_in.grant]]
value = "admins"
role = "platform-admin"
"#;

fn call<T>(message: T, token: &str, workspace: &str) -> Request<T> {
    let mut request = Request::new(message);
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = MetadataValue::try_from(value) {
            request.metadata_mut().insert(name, value);
        }
    };
    put("authorization", &format!("Bearer {token}"));
    if !workspace.is_empty() {
        put("dmarcer-workspace", workspace);
    }
    request
}

/// A connection that comes from the nth address of this machine: how often somebody without a token
/// may call is counted by address.
async fn connect(nth: u8) -> Outcome<Channel> {
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, nth));
    Ok(Endpoint::from_static(Product::SERVER).local_address(Some(from)).connect().await?)
}

fn block_on(body: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(body)
}

async fn begin(channel: &Channel) -> Result<control::BeginSignInResponse, Status> {
    let request = control::BeginSignInRequest { redirect_uri: REDIRECT.to_owned() };
    let begun = SignInServiceClient::new(channel.clone()).begin_sign_in(request).await?;
    Ok(begun.into_inner())
}

async fn complete(
    channel: &Channel,
    begun: &control::BeginSignInResponse,
    returned: &Returned,
) -> Result<control::CompleteSignInResponse, Status> {
    let request = control::CompleteSignInRequest {
        state: returned.state.clone(),
        code: returned.code.clone(),
        binding: begun.binding.clone(),
        issuer: returned.issuer.clone(),
    };
    let ended = SignInServiceClient::new(channel.clone()).complete_sign_in(request).await?;
    Ok(ended.into_inner())
}

/// Somebody's whole way in.
async fn sign_in(
    channel: &Channel,
    world: &World,
    who: &str,
) -> Outcome<Result<control::CompleteSignInResponse, Status>> {
    let begun = begin(channel).await?;
    let returned = Browser::new(world)?.sign_in(&begun.authorization_url, REDIRECT, who)?;
    Ok(complete(channel, &begun, &returned).await)
}

fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(said) => status::told(&said).reason,
    }
}

/// Two workspaces, with a domain each.
async fn fill(channel: &Channel) -> Outcome {
    for (workspace, domain) in [("acme", "acme.example.com"), ("other", "other.example.net")] {
        let add = control::AddWorkspaceRequest { id: workspace.to_owned(), ..Default::default() };
        let mut workspaces = WorkspaceServiceClient::new(channel.clone());
        workspaces.add_workspace(call(add, Product::TOKEN, "")).await?;
        let add = control::AddDomainRequest { name: domain.to_owned(), kind: 0 };
        let mut domains = DomainServiceClient::new(channel.clone());
        domains.add_domain(call(add, Product::TOKEN, workspace)).await?;
    }
    Ok(())
}

async fn workspaces_of(channel: &Channel, token: &str) -> Outcome<Vec<String>> {
    let list = call(control::ListWorkspacesRequest::default(), token, "");
    let answer = WorkspaceServiceClient::new(channel.clone()).list_workspaces(list).await?;
    Ok(answer.into_inner().items.into_iter().map(|workspace| workspace.id).collect())
}

async fn domains_of(channel: &Channel, token: &str) -> Outcome<Vec<String>> {
    let list = call(control::ListDomainsRequest::default(), token, "");
    let answer = DomainServiceClient::new(channel.clone()).list_domains(list).await?;
    Ok(answer.into_inner().items.into_iter().map(|domain| domain.name).collect())
}

#[test]
fn a_person_signs_in_with_a_real_provider_and_sees_just_their_workspace() -> Outcome {
    netns::inside(|world| {
        let provider = HonestProvider::start(
            world,
            &json!({
                "alice": {
                    "name": "Alice", "email": "Alice@acme.example.com", "email_verified": true,
                    "groups": ["everybody", "mail-of-acme"],
                },
                "bob": {
                    "name": "Bob", "email": "bob@example.org", "email_verified": true,
                    "groups": ["everybody"],
                },
                "carol": { "name": "Carol", "email": "Carol@Example.org", "email_verified": true },
                "eve": { "name": "Eve", "email": "carol@example.org", "email_verified": false },
            }),
        )?;
        let config = format!("{}{GRANTS}", provider.config());
        let product = Product::start_alone_with(world, &config)?;
        block_on(async {
            let channel = connect(1).await?;
            fill(&channel).await?;
            let asked = control::GetSignInProviderRequest {};
            let with =
                SignInServiceClient::new(channel.clone()).get_sign_in_provider(asked).await?;
            let with = with.into_inner();
            assert!(with.configured && with.name == "Example Login", "{with:?}");

            let alice = sign_in(&channel, world, "alice").await??;
            assert_eq!(alice.name, "alice@acme.example.com");
            let place = |member: &control::Membership| (member.workspace_id.clone(), member.role());
            let places: Vec<_> = alice.memberships.iter().map(place).collect();
            assert_eq!(places, [("acme".to_owned(), Role::DomainManager)]);
            assert_eq!(workspaces_of(&channel, &alice.token).await?, ["acme"]);
            assert_eq!(domains_of(&channel, &alice.token).await?, ["acme.example.com"]);
            let there = control::GetWorkspaceRequest { id: "other".to_owned() };
            let mut workspaces = WorkspaceServiceClient::new(channel.clone());
            let refused = workspaces.get_workspace(call(there, &alice.token, "")).await;
            assert_eq!(reason(refused), "WORKSPACE_NOT_FOUND");
            let add = control::AddWorkspaceRequest { id: "hers".to_owned(), ..Default::default() };
            let refused = workspaces.add_workspace(call(add, &alice.token, "")).await;
            assert_eq!(reason(refused), "ROLE_REQUIRED");

            // No role, no access; and an address that the provider has not verified is nobody's.
            assert_eq!(reason(sign_in(&channel, world, "bob").await?), "NO_ROLE");
            let add = control::AddMemberRequest {
                who: "carol@example.org".to_owned(),
                role: Role::ReadOnly.into(),
                domains: Vec::new(),
            };
            let mut members = MemberServiceClient::new(channel.clone());
            members.add_member(call(add, Product::TOKEN, "acme")).await?;
            let carol = sign_in(&channel, world, "carol").await??;
            assert_eq!(workspaces_of(&channel, &carol.token).await?, ["acme"]);
            assert_eq!(reason(sign_in(&channel, world, "eve").await?), "NO_ROLE");

            let log = product.log()?;
            for secret in [CLIENT_SECRET, &alice.token, &carol.token] {
                assert!(!log.contains(secret), "{log}");
            }
            assert!(!log.contains("panicked"), "{log}");
            Ok(())
        })
    })
}

#[test]
fn a_sign_in_is_ended_once_by_who_began_it_with_what_came_back_to_them() -> Outcome {
    netns::inside(|world| {
        let admin = json!({ "alice": { "name": "Alice", "groups": "admins" } });
        let provider = HonestProvider::start(world, &admin)?;
        let config = format!("{}{GRANTS}", provider.config());
        let product = Product::start_alone_with(world, &config)?;
        block_on(async {
            let channel = connect(1).await?;
            for evil in ["https://evil.example/callback", "http://127.0.0.1:48620/", ""] {
                let request = control::BeginSignInRequest { redirect_uri: evil.to_owned() };
                let refused =
                    SignInServiceClient::new(channel.clone()).begin_sign_in(request).await;
                assert_eq!(reason(refused), "INVALID_ARGUMENT", "{evil:?}");
            }

            let browser = Browser::new(world)?;
            let visit = |begun: &control::BeginSignInResponse| {
                browser.sign_in(&begun.authorization_url, REDIRECT, "alice")
            };
            let (ours, theirs) = (begin(&channel).await?, begin(&channel).await?);
            assert!(ours.authorization_url.contains("code_challenge_method=S256"));
            let (to_us, to_them) = (visit(&ours)?, visit(&theirs)?);
            assert_eq!(to_us.state, ours.state);

            // The binding of another, the state of another, and nobody's.
            assert_eq!(reason(complete(&channel, &theirs, &to_us).await), "SIGN_IN_EXPIRED");
            let mixed = Returned { state: to_them.state.clone(), ..to_us.clone() };
            assert_eq!(reason(complete(&channel, &ours, &mixed).await), "SIGN_IN_EXPIRED");
            for state in ["", "x", &ours.binding] {
                let nobodys = Returned { state: state.to_owned(), ..to_us.clone() };
                assert_eq!(reason(complete(&channel, &ours, &nobodys).await), "SIGN_IN_EXPIRED");
            }
            // They have ended nothing.
            complete(&channel, &ours, &to_us).await?;
            // Once.
            assert_eq!(reason(complete(&channel, &ours, &to_us).await), "SIGN_IN_EXPIRED");

            // A code that belongs to another sign-in is refused by the provider itself: PKCE.
            let mixed = Returned { code: to_them.code.clone(), ..visit(&begin(&channel).await?)? };
            assert_eq!(reason(complete(&channel, &theirs, &mixed).await), "SIGN_IN_EXPIRED");
            let (third, fourth) = (begin(&channel).await?, begin(&channel).await?);
            let (to_third, to_fourth) = (visit(&third)?, visit(&fourth)?);
            let mixed = Returned { code: to_third.code.clone(), ..to_fourth };
            assert_eq!(reason(complete(&channel, &fourth, &mixed).await), "SIGN_IN_REFUSED");

            // The answer of another provider, or one that doesn't say whose it is.
            for issuer in ["https://evil.example", ""] {
                let begun = begin(&channel).await?;
                let brought = Returned { issuer: issuer.to_owned(), ..visit(&begun)? };
                let failed = complete(&channel, &begun, &brought).await;
                assert_eq!(reason(failed), "SIGN_IN_FAILED", "{issuer:?}");
            }

            // Who changes their mind at the provider.
            let begun = begin(&channel).await?;
            let aborted = Browser::new(world)?.abort(&begun.authorization_url, REDIRECT)?;
            assert_eq!((aborted.error.as_str(), aborted.code.as_str()), ("access_denied", ""));
            assert_eq!(reason(complete(&channel, &begun, &aborted).await), "SIGN_IN_REFUSED");

            let log = product.log()?;
            let codes = [&to_us.code, &to_third.code, &ours.binding, &ours.state];
            for secret in codes.into_iter().map(String::as_str).chain([CLIENT_SECRET]) {
                assert!(!log.contains(secret), "{log}");
            }
            Ok(())
        })
    })
}

#[test]
fn no_lie_of_a_provider_signs_anybody_in() -> Outcome {
    const SIGNED_IN: &[&str] = &[
        "none",
        "other audiences, issued to us",
        // Providers change their keys.
        "a new key",
        "none",
    ];
    // With the check that has to find it.
    const FAILED: &[(&str, &str)] = &[
        ("another audience", "Invalid audiences"),
        ("no audience", "Invalid audiences"),
        ("other audiences beside us", "aud: it is for others, too"),
        ("issued to another", "azp: it was issued to another"),
        ("another issuer", "Invalid issuer"),
        ("this issuer with a slash", "Invalid issuer"),
        ("expired", "ID token expired"),
        ("issued an hour ago", "from before this sign-in"),
        ("issued in an hour", "from the future"),
        ("not valid yet", "nbf: "),
        ("not valid before a word", "nbf: "),
        ("no nonce", "missing nonce"),
        ("another nonce", "nonce mismatch"),
        ("nobody", "its answer can't be read"),
        ("another access token", "at_hash: the access token is another"),
        ("another key with the same name", "bad signature"),
        ("a key that is not shown", "signed by no key of the provider's"),
        ("a key of its own making", "signature: "),
        ("no signature", "No signature found"),
        ("no signature, with a key", "No signature found"),
        ("the signature cut off", "bad signature"),
        ("a secret made of the public key", "Disallowed signature algorithm"),
        ("our own secret", "Disallowed signature algorithm"),
        ("a changed payload", "bad signature"),
        ("another kind of token", "unsupported JWT type"),
        ("an extension that must be understood", "critical JWT header"),
        ("its access token for an ID token", "Invalid audiences"),
        ("no ID token", "there is none"),
        ("text for an ID token", "its answer can't be read"),
        ("userinfo of somebody else", "Invalid subject"),
    ];
    netns::inside(|world| {
        let claims = json!({
            "name": "Alice", "email": "alice@example.org", "email_verified": true,
            "groups": ["admins"],
        });
        let provider = LyingProvider::start(world, &claims)?;
        let config = format!("{}{GRANTS}", LyingProvider::config());
        let product = Product::start_alone_with(world, &config)?;
        let browser = Browser::new(world)?;
        let expected = (SIGNED_IN.iter().map(|lie| (*lie, "")))
            .chain(FAILED.iter().map(|(lie, _)| (*lie, "SIGN_IN_FAILED")))
            .chain([
                ("no groups", "NO_ROLE"),
                ("groups of nobody here", "NO_ROLE"),
                ("a refusal", "SIGN_IN_REFUSED"),
                ("a breakdown", "UNAVAILABLE"),
                ("a redirect", "UNAVAILABLE"),
                ("two megabytes", "UNAVAILABLE"),
                ("none", ""),
            ]);
        block_on(async {
            let mut channel = connect(1).await?;
            for (nth, (lie, expected)) in expected.enumerate() {
                if nth % 20 == 19 {
                    channel = connect(u8::try_from(nth / 20)? + 2).await?;
                }
                provider.lie(lie)?;
                let begun = begin(&channel).await?;
                let returned = browser.sign_in(&begun.authorization_url, REDIRECT, "alice")?;
                let ended = complete(&channel, &begun, &returned).await;
                let said = ended.as_ref().err().map(|said| said.message().to_owned());
                let said = said.unwrap_or_default();
                assert!(said.len() < 400 && !said.contains(['\r', '\n', '\u{202e}']), "{said:?}");
                match ended {
                    Ok(ended) => assert_eq!(expected, "", "{lie} gives {}", ended.name),
                    Err(said) => assert_eq!(status::told(&said).reason, expected, "{lie}"),
                }
                if let Some((_, check)) = FAILED.iter().find(|(one, _)| *one == lie) {
                    let log = product.log()?;
                    let last = log.rsplit("a sign-in failed: ").next().unwrap_or_default();
                    assert!(last.contains(check), "{lie}: {last}");
                }
            }
            let log = product.log()?;
            assert!(!log.contains("panicked"), "{log}");
            for secret in [CLIENT_SECRET, "eyJ", "dmr_", "secret.words"] {
                assert!(!log.contains(secret), "{secret}: {log}");
            }
            Ok(())
        })
    })
}

#[test]
fn a_provider_that_is_down_keeps_nothing_from_starting() -> Outcome {
    netns::inside(|world| {
        let config = format!("{}{GRANTS}", LyingProvider::config());
        let _product = Product::start_alone_with(world, &config)?;
        block_on(async {
            let channel = connect(1).await?;
            assert!(domains_of(&channel, Product::TOKEN).await?.is_empty());
            let said = begin(&channel).await.err().unwrap_or_else(|| Status::ok("it began"));
            assert_eq!(said.code(), Code::Unavailable);
            assert!(said.message().contains("discovery document"), "{}", said.message());

            let claims = json!({ "groups": "admins" });
            let _provider = LyingProvider::start(world, &claims)?;
            let mut tries = 0;
            let begun =
                wait::until_async(Duration::from_secs(10), "a sign-in to begin", async || {
                    tries += 1;
                    let channel = connect(2 + tries / 40).await?;
                    Ok::<_, Failure>(begin(&channel).await?)
                });
            let begun = begun.await?;
            let browser = Browser::new(world)?;
            let returned = browser.sign_in(&begun.authorization_url, REDIRECT, "alice")?;
            complete(&channel, &begun, &returned).await?;
            Ok(())
        })
    })
}

#[test]
fn where_no_provider_is_configured_nobody_signs_in() -> Outcome {
    netns::inside(|world| {
        let _product = Product::start_alone(world)?;
        block_on(async {
            let channel = connect(1).await?;
            let asked = control::GetSignInProviderRequest {};
            let with =
                SignInServiceClient::new(channel.clone()).get_sign_in_provider(asked).await?;
            assert!(!with.into_inner().configured);
            assert_eq!(reason(begin(&channel).await), "SIGN_IN_NOT_CONFIGURED");
            let nothing = control::BeginSignInResponse::default();
            let ended = complete(&channel, &nothing, &Returned::default()).await;
            assert_eq!(reason(ended), "SIGN_IN_NOT_CONFIGURED");
            Ok(())
        })
    })
}
