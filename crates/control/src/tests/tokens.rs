//! API tokens: what may be made, seen and ended.

use jiff::SignedDuration;
use service::caller::{Call, Role};
use service::token::Token;
use tonic::{Code, Status};
use wire::control as v1;
use wire::control::token_service_server::TokenService;
use wire::status::told;

use super::holder::{Holder, from_wire, to_wire};
use super::world::{World, hex};
use crate::identity::{Life, MAX_TOKENS, OwnerId, Power, Purpose};
use crate::sql::TokenRow;

fn wanted(name: &str, role: Option<Role>, domains: &[&str], hours: u32) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest {
        name: name.to_owned(),
        role: role.map(to_wire).unwrap_or_default(),
        domains: domains.iter().map(|&name| name.to_owned()).collect(),
        expires_after_seconds: hours * 3600,
    }
}

fn ids(tokens: &[v1::Token]) -> Vec<&str> {
    let mut ids: Vec<&str> = tokens.iter().map(|token| token.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn page(
    world: &World,
    holder: &Holder<'_>,
    page_token: &str,
    all: bool,
) -> Result<v1::ListTokensResponse, Status> {
    let page_token = page_token.to_owned();
    let call = v1::ListTokensRequest { page_size: 3, page_token, all };
    let page = world.api.list_tokens(holder.request(call).await?).await?;
    Ok(page.into_inner())
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_a_hash() {
    let world = World::start().await;
    let made = world.admin().create(wanted(" CI deploy ", None, &[], 0)).await.unwrap();
    let shown = made.token.unwrap();
    assert_eq!(Token::parse(&made.secret).unwrap().id(), shown.id);
    assert_eq!((shown.name.as_str(), shown.owner.as_str()), ("CI deploy", "admin"));
    assert_eq!((shown.kind(), shown.state()), (v1::TokenKind::Api, v1::TokenState::Active));
    assert_eq!((shown.workspace_id.as_str(), from_wire(shown.role)), ("default", Role::ReadOnly));
    assert_eq!(shown.made_with, "admin");
    let lasts = shown.expires_at.unwrap().seconds - shown.created_at.unwrap().seconds;
    assert_eq!(lasts, 90 * 86_400);

    // The secret is nowhere in the database, be it in the log or in its files.
    let secret = &made.secret[16..];
    for entry in std::fs::read_dir(world.folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found);
    }
}

#[tokio::test]
async fn nobody_makes_a_token_that_can_do_more_than_they() {
    let world = World::start().await;
    for (who, role, named) in [
        ("reader", Role::ReadOnly, &[][..]),
        ("manager", Role::DomainManager, &[]),
        ("named", Role::DomainManager, &["a.example", "b.example"]),
        ("root", Role::PlatformAdmin, &[]),
    ] {
        world.add_member("default", &format!("{who}@example.org"), role, named).await;
    }
    let (read, manage, admin) = (Role::ReadOnly, Role::DomainManager, Role::PlatformAdmin);
    for (who, role, domains, expected) in [
        ("reader", None, &[][..], Ok((read, ""))),
        ("reader", Some(read), &[], Ok((read, ""))),
        ("reader", Some(read), &["a.example"], Err("INVALID_ARGUMENT")),
        ("reader", Some(manage), &[], Err("ROLE_TOO_HIGH")),
        ("reader", Some(admin), &[], Err("ROLE_TOO_HIGH")),
        ("manager", Some(manage), &[], Ok((manage, ""))),
        ("manager", Some(manage), &["A.example."], Ok((manage, "a.example"))),
        ("manager", Some(manage), &["com"], Err("INVALID_DOMAIN")),
        ("manager", Some(admin), &[], Err("ROLE_TOO_HIGH")),
        ("named", Some(read), &[], Ok((read, ""))),
        ("named", Some(manage), &[], Ok((manage, "a.example b.example"))),
        ("named", Some(manage), &["b.example"], Ok((manage, "b.example"))),
        ("named", Some(manage), &["b.example", "c.example"], Err("DOMAIN_NOT_YOURS")),
        ("root", Some(manage), &["c.example"], Ok((manage, "c.example"))),
        ("root", Some(admin), &[], Ok((admin, ""))),
        ("root", Some(admin), &["c.example"], Err("INVALID_ARGUMENT")),
    ] {
        let holder = world.sign_in(who).await;
        let what = format!("{who} wants {role:?} {domains:?}");
        match (holder.create(wanted("t", role, domains, 0)).await, expected) {
            (Ok(made), Ok((role, domains))) => {
                let token = made.token.unwrap();
                assert_eq!(
                    (from_wire(token.role), token.domains.join(" ")),
                    (role, domains.to_owned()),
                    "{what}"
                );
                let identity = world.holder(&made.secret).identity().await.unwrap();
                assert_eq!(
                    (identity.role, identity.domains),
                    (token.role, token.domains),
                    "{what}"
                );
            }
            (Err(refused), Err(reason)) => assert_eq!(told(&refused).reason, reason, "{what}"),
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
    let reader = world.sign_in("reader").await;
    let refused = reader.create(wanted("t", Some(admin), &[], 0)).await.unwrap_err();
    for role in ["read-only", "platform-admin"] {
        assert!(refused.message().contains(role), "{}", refused.message());
    }
}

#[tokio::test]
async fn no_token_outlives_the_api_token_that_makes_it() {
    let world = World::start().await;
    let maker = world.admin().create(wanted("maker", None, &[], 24)).await.unwrap();
    let ends = maker.token.unwrap().expires_at;
    let maker = world.holder(&maker.secret);
    let cut = maker.create(wanted("cut", None, &[], 0)).await.unwrap().token.unwrap();
    assert_eq!(cut.expires_at, ends);
    let refused = maker.create(wanted("long", None, &[], 25)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(told(&refused).metadata["field"], "expires_after_seconds");
    maker.create(wanted("short", None, &[], 23)).await.unwrap();

    // Who has signed in is there in person: what they make is not cut to their sign-in.
    world.add_member("default", "alice@example.org", Role::ReadOnly, &[]).await;
    let alice = world.sign_in("alice").await;
    let year = alice.create(wanted("year", None, &[], 366 * 24)).await.unwrap().token.unwrap();
    assert!(year.expires_at.unwrap().seconds > ends.unwrap().seconds);
}

#[tokio::test]
async fn a_wrong_wish_names_its_field() {
    let world = World::start().await;
    let many = vec!["a.example".to_owned(); 101];
    let right = wanted("t", Some(Role::DomainManager), &[], 0);
    for (field, call) in [
        ("name", v1::CreateTokenRequest { name: String::new(), ..right.clone() }),
        ("name", v1::CreateTokenRequest { name: "n".repeat(65), ..right.clone() }),
        ("name", v1::CreateTokenRequest { name: "a\u{202e}b".to_owned(), ..right.clone() }),
        ("role", v1::CreateTokenRequest { role: 99, ..right.clone() }),
        ("domains", v1::CreateTokenRequest { domains: many, ..right.clone() }),
        (
            "expires_after_seconds",
            v1::CreateTokenRequest { expires_after_seconds: 1, ..right.clone() },
        ),
        (
            "expires_after_seconds",
            v1::CreateTokenRequest { expires_after_seconds: u32::MAX, ..right.clone() },
        ),
    ] {
        let refused = told(&world.admin().create(call).await.unwrap_err());
        assert_eq!(
            (refused.reason.as_str(), refused.metadata["field"].as_str()),
            ("INVALID_ARGUMENT", field)
        );
    }
    assert!(world.admin().tokens(true).await.is_empty());
}

#[tokio::test]
async fn tokens_are_seen_by_their_owner_and_by_platform_admins_of_the_workspace() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    for (workspace, who) in [("default", "alice"), ("default", "bob"), ("acme", "alice")] {
        world.add_member(workspace, &format!("{who}@example.org"), Role::DomainManager, &[]).await;
    }
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let (here, there) = (alice.within("default"), alice.within("acme"));
    let (one, _) = here.make(Role::ReadOnly).await;
    let (_, stronger) = here.make(Role::DomainManager).await;
    let (_, elsewhere) = there.make(Role::ReadOnly).await;
    let (_, bobs) = bob.make(Role::ReadOnly).await;
    let (_, roots) = world.admin().make(Role::ReadOnly).await;

    let mine = here.tokens(true).await;
    assert_eq!(ids(&mine).len(), 3, "{mine:?}");
    assert!(mine.iter().all(|token| token.owner == "alice@example.org"));
    // A token sees itself: a leaked one must not end its owner's others.
    assert_eq!(one.tokens(true).await.len(), 1);
    let refused = one.revoke(&stronger, true).await.unwrap_err();
    assert_eq!(told(&refused).reason, "TOKEN_NOT_FOUND");
    assert_eq!(ids(&there.tokens(true).await).len(), 2, "her sign-in, and the one of acme");

    // A Platform admin sees those of the workspace, and who is signed in there.
    assert_eq!(world.admin().tokens(true).await.len(), 6);
    assert_eq!(world.admin().within("acme").tokens(true).await.len(), 2);

    // To everybody else they are as if they were not.
    let missing = here.get_token("000000000000").await.unwrap_err();
    assert_eq!(told(&missing).reason, "TOKEN_NOT_FOUND");
    for (holder, id) in [(&here, &bobs), (&here, &roots), (&here, &elsewhere), (&bob, &roots)] {
        for status in [
            holder.get_token(id).await.unwrap_err(),
            holder.revoke(id, false).await.unwrap_err(),
            holder.revoke(id, true).await.unwrap_err(),
            holder.revoke("000000000000", true).await.unwrap_err(),
            holder.get_token("'; --").await.unwrap_err(),
        ] {
            assert_eq!((status.code(), status.message()), (missing.code(), missing.message()));
            assert_eq!(status.details(), missing.details());
        }
    }
    let status = world.admin().get_token(&elsewhere).await.unwrap_err();
    assert_eq!(status.details(), missing.details(), "of another workspace, for whoever it is");
    world.admin().within("acme").get_token(&elsewhere).await.unwrap();
}

#[tokio::test]
async fn a_list_of_tokens_goes_on_for_its_caller_only() {
    let world = World::start().await;
    world.add_member("default", "root@example.org", Role::PlatformAdmin, &[]).await;
    let admin = world.admin();
    for _ in 0..5 {
        world.clock.advance(SignedDuration::from_secs(1));
        admin.make(Role::ReadOnly).await;
    }
    // Made at the same instant: told apart by their ids.
    for _ in 0..3 {
        admin.make(Role::ReadOnly).await;
    }
    let (_, ended) = admin.make(Role::ReadOnly).await;
    admin.revoke(&ended, false).await.unwrap();

    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let next = page(&world, &admin, &token, false).await.unwrap();
        seen.extend(next.items);
        token = next.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 8);
    assert!(!ids(&seen).contains(&ended.as_str()));
    let born = |token: &v1::Token| token.created_at.unwrap().seconds;
    assert!(seen.is_sorted_by_key(|token| std::cmp::Reverse(born(token))), "newest first");
    let everyone = admin.tokens(true).await;
    assert_eq!(everyone.len(), 9);

    let token = page(&world, &admin, "", false).await.unwrap().next_page_token;
    let root = world.sign_in("root").await;
    let (made, _) = admin.make(Role::PlatformAdmin).await;
    for (what, holder, all) in [
        ("another person", root, false),
        ("another token", made, false),
        ("another list", admin, true),
    ] {
        let status = page(&world, &holder, &token, all).await.unwrap_err();
        assert_eq!(told(&status).metadata["field"], "page_token", "{what}");
    }
}

#[tokio::test]
async fn what_was_made_with_a_token_can_be_ended_with_it() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    let admin = world.admin();
    let (a, a_id) = admin.make(Role::PlatformAdmin).await;
    let (b, _) = a.make(Role::PlatformAdmin).await;
    let (c, _) = b.within("acme").make(Role::ReadOnly).await;
    let (d, _) = c.make(Role::ReadOnly).await;
    let (other, _) = admin.make(Role::ReadOnly).await;

    let left = a.revoke("", false).await.unwrap();
    assert_eq!(left.still_active_made_with_it, 3);
    assert_eq!(left.token.unwrap().state(), v1::TokenState::Revoked);
    assert_eq!(told(&a.identity().await.unwrap_err()).reason, "TOKEN_INVALID");
    for still in [&b, &c, &d, &other] {
        still.identity().await.unwrap();
    }
    let ended = admin.revoke(&a_id, true).await.unwrap();
    assert_eq!(ended.still_active_made_with_it, 0);
    for gone in [&b, &c, &d] {
        assert_eq!(told(&gone.identity().await.unwrap_err()).reason, "TOKEN_INVALID");
    }
    other.identity().await.unwrap();

    // Ending it once more changes nothing.
    let before = admin.get_token(&a_id).await.unwrap();
    world.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(admin.revoke(&a_id, true).await.unwrap().token.unwrap(), before);
    assert_eq!(before.revoked_by, "token CI (admin)");

    // Each is told of in the chain of its own workspace.
    assert_eq!(world.actions("default", "token.revoke").await.len(), 2);
    assert_eq!(world.actions("acme", "token.revoke").await.len(), 1 + 1);
}

#[tokio::test]
async fn a_token_that_has_ended_makes_no_other() {
    let world = World::start().await;
    let (token, id) = world.admin().make(Role::ReadOnly).await;
    // The layer in front remembers callers for a moment.
    let late = token.request(wanted("late", None, &[], 0)).await.unwrap();
    world.admin().revoke(&id, true).await.unwrap();
    let refused = world.api.create_token(late).await.unwrap_err();
    assert_eq!(told(&refused).reason, "TOKEN_INVALID");
    assert_eq!(world.admin().tokens(false).await.len(), 0);
}

#[tokio::test]
async fn signing_out_ends_the_token_in_use() {
    let world = World::start().await;
    world.add_member("default", "alice@example.org", Role::ReadOnly, &[]).await;
    let alice = world.sign_in("alice").await;
    let other_browser = world.sign_in("alice").await;
    let ended = alice.revoke("", false).await.unwrap().token.unwrap();
    assert_eq!((ended.kind(), ended.state()), (v1::TokenKind::SignIn, v1::TokenState::Revoked));
    assert_eq!(ended.revoked_by, "alice@example.org");
    assert!(alice.identity().await.is_err());
    other_browser.identity().await.unwrap();

    let refused = world.admin().revoke("", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("admin_token"), "{}", refused.message());
    world.admin().identity().await.unwrap();
}

#[tokio::test]
async fn a_workspace_has_a_bounded_number_of_active_tokens() {
    let world = World::start().await;
    let store = world.core.domains.store();
    let now = service::clock::Clock::now(&*world.clock);
    let mut write = store.write().await.unwrap();
    for _ in 0..MAX_TOKENS {
        let token = Token::make(rand::random());
        let workspace = "default".parse().unwrap();
        let row = TokenRow {
            id: token.id().to_owned(),
            name: "t".to_owned(),
            purpose: Purpose::Api { workspace, closed: false, power: Power::ReadOnly },
            owner: OwnerId::Admin,
            made_with: String::new(),
            life: Life {
                is_sign_in: false,
                created_at: now,
                expires_at: now.saturating_add(SignedDuration::from_hours(1)).unwrap(),
                last_used_at: None,
                revoked_at: None,
            },
            revoked_by: String::new(),
        };
        row.insert(&mut write, &token.hash()).await.unwrap();
    }
    write.commit().await.unwrap();
    let refused = world.admin().create(wanted("one more", None, &[], 0)).await.unwrap_err();
    assert_eq!(
        (refused.code(), told(&refused).reason.as_str()),
        (Code::ResourceExhausted, "TOKEN_LIMIT")
    );
    world.add_workspace("acme").await;
    world.admin().within("acme").make(Role::ReadOnly).await;
    world.clock.advance(SignedDuration::from_hours(1));
    world.admin().make(Role::ReadOnly).await;
}

#[tokio::test]
async fn a_token_is_made_once_however_often_the_same_call_is_made() {
    let world = World::start().await;
    let admin = world.admin();
    let first = admin.marked(wanted("once", None, &[], 0), 1).await;
    world.api.create_token(first).await.unwrap();
    let again = admin.marked(wanted("once", None, &[], 0), 1).await;
    let refused = world.api.create_token(again).await.unwrap_err();
    assert_eq!(told(&refused).reason, "TOKEN_SHOWN_ONCE");
    assert_eq!(admin.tokens(true).await.len(), 1);
}

#[tokio::test]
async fn a_service_makes_no_tokens() {
    let world = World::start().await;
    let mut request = world.admin().request(wanted("t", None, &[], 0)).await.unwrap();
    let call = request.extensions_mut().get_mut::<Call>().unwrap();
    call.caller.as_mut().unwrap().role = Role::Service;
    let refused = world.api.create_token(request).await.unwrap_err();
    assert_eq!(told(&refused).reason, "ROLE_REQUIRED");
}

#[tokio::test]
async fn records_tell_of_tokens_and_of_no_secret() {
    let world = World::start().await;
    let admin = world.admin();
    let made = admin.create(wanted("CI", Some(Role::DomainManager), &["a.example"], 0)).await;
    let made = made.unwrap();
    let token = made.token.unwrap();
    admin.revoke(&token.id, false).await.unwrap();
    let created = world.actions("default", "token.create").await;
    let revoked = world.actions("default", "token.revoke").await;
    assert_eq!((created.len(), revoked.len()), (1, 1));
    assert_eq!(
        (created[0].about.as_str(), created[0].who_id.as_str()),
        (token.id.as_str(), "admin")
    );
    let after = created[0].after.as_ref().unwrap();
    assert_eq!(
        (&after["role"], &after["domains"][0]),
        (&"domain-manager".into(), &"a.example".into())
    );
    let hash = hex(&Token::parse(&made.secret).unwrap().hash());
    for entry in created.iter().chain(&revoked) {
        let text = format!("{entry:?}");
        assert!(!text.contains(&made.secret[16..48]) && !text.contains(&hash), "{text}");
    }
}
