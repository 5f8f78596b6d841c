//! The layer before calls of every kind.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use tonic::Code;

use super::*;

fn caller(role: Role, domains: &[&str]) -> Caller {
    Caller {
        id: format!("token:{role}"),
        name: "somebody".into(),
        workspace: "default".into(),
        role,
        domains: domains.iter().map(|name| (*name).to_owned()).collect(),
        owner: "admin".into(),
    }
}

fn access() -> Access {
    let about: AboutOf = Arc::new(|message| String::from_utf8(message.to_vec()).ok());
    let rule = |need, changes, about| Some(Rule { need, changes, emergency: false, about });
    let rpcs = [
        ("/t.T/Open", rule(Need::Nothing, false, None)),
        ("/t.T/Look", rule(Need::Role(Role::ReadOnly), false, Some(about.clone()))),
        ("/t.T/Change", rule(Need::Role(Role::DomainManager), true, Some(about))),
        ("/t.T/Platform", rule(Need::Role(Role::PlatformAdmin), true, None)),
        ("/t.T/Fleet", rule(Need::Role(Role::Service), false, None)),
    ];
    let rules = Rules::new(rpcs.map(|(path, rule)| (path.to_owned(), rule))).unwrap();
    let known = Known::here([
        ("reader".to_owned(), caller(Role::ReadOnly, &[])),
        ("manager".to_owned(), caller(Role::DomainManager, &[])),
        ("limited".to_owned(), caller(Role::DomainManager, &["a.example"])),
        ("admin".to_owned(), caller(Role::PlatformAdmin, &[])),
        ("fleet".to_owned(), caller(Role::Service, &[])),
    ]);
    Access::new(rules, known, Limits::default())
}

fn framed(message: &str) -> Vec<u8> {
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message.as_bytes());
    body
}

fn request(path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Body> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::new(Full::new(Bytes::from(body)))).unwrap()
}

async fn admit(path: &str, headers: &[(&str, &str)], message: &str) -> Result<Call, Status> {
    let admitted = access().admit(request(path, headers, framed(message)), "r").await?;
    Ok(admitted.extensions().get::<Call>().unwrap().clone())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn each_role_is_let_through_to_what_it_may_call_and_to_nothing_else() {
    let tokens = ["", "reader", "manager", "admin", "fleet"];
    // The first of `tokens` that is let through.
    for (path, from) in [
        ("/t.T/Open", 0),
        ("/t.T/Look", 1),
        ("/t.T/Change", 2),
        ("/t.T/Platform", 3),
        ("/t.T/Fleet", 4),
    ] {
        for (at, token) in tokens.into_iter().enumerate() {
            let bearer = format!("Bearer {token}");
            let headers: &[(&str, &str)] =
                if token.is_empty() { &[] } else { &[("authorization", bearer.as_str())] };
            let admitted = admit(path, headers, "a.example").await;
            let expected = match (at >= from, token.is_empty()) {
                (true, _) => Ok(()),
                (false, true) => Err("TOKEN_REQUIRED".to_owned()),
                (false, false) => Err("ROLE_REQUIRED".to_owned()),
            };
            assert_eq!(
                admitted.map(|_| ()).map_err(|s| reason(&s)),
                expected,
                "{path} by {token:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_bearer_token_is_none() {
    for header in
        ["reader", "Basic reader", "Bearer", "Bearer ", "Bearer readerx", "Bearer  reader x"]
    {
        let refused = admit("/t.T/Look", &[("authorization", header)], "").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{header:?}");
    }
    admit("/t.T/Look", &[("authorization", "bearer reader")], "").await.unwrap();
}

#[tokio::test]
async fn a_role_for_named_domains_looks_at_all_and_changes_only_those() {
    let limited = [("authorization", "Bearer limited")];
    admit("/t.T/Look", &limited, "b.example").await.unwrap();
    admit("/t.T/Change", &limited, "a.example").await.unwrap();
    for other in ["b.example", "", "xa.example"] {
        let refused = admit("/t.T/Change", &limited, other).await.unwrap_err();
        assert_eq!(reason(&refused), "DOMAIN_NOT_YOURS", "{other:?}");
    }
}

#[tokio::test]
async fn what_has_no_rule_is_nobodys_to_call() {
    let refused =
        admit("/t.T/Unknown", &[("authorization", "Bearer fleet")], "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let silent = Rules::new([("/t.T/Silent".to_owned(), None)]).unwrap_err();
    assert_eq!(silent.to_string(), "/t.T/Silent doesn't say who may call it");
}

#[tokio::test]
async fn a_mark_is_taken_for_changes_and_tells_one_request_from_another() {
    let with = |key: &'static str| [("authorization", "Bearer manager"), (IDEMPOTENCY_KEY, key)];
    let first = admit("/t.T/Change", &with("k"), "a.example").await.unwrap().once.unwrap();
    let again = admit("/t.T/Change", &with("k"), "a.example").await.unwrap().once.unwrap();
    assert!(first == again);
    let other = admit("/t.T/Change", &with("k"), "b.example").await.unwrap().once.unwrap();
    assert!(first.key_hash == other.key_hash && first.request_hash != other.request_hash);
    assert!(admit("/t.T/Look", &with("k"), "").await.unwrap().once.is_none());

    let long = "k".repeat(256);
    for key in ["", "two words", long.as_str()] {
        let headers = [("authorization", "Bearer manager"), (IDEMPOTENCY_KEY, key)];
        let refused = admit("/t.T/Change", &headers, "a.example").await.unwrap_err();
        assert_eq!(reason(&refused), "IDEMPOTENCY_KEY_INVALID", "{key:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_one_whole_message_is_refused() {
    let headers = [("authorization", "Bearer limited")];
    let mut compressed = framed("a.example");
    compressed[0] = 1;
    let mut two = framed("a.example");
    two.extend(framed("b.example"));
    let cut = framed("a.example")[..8].to_vec();
    for body in [Vec::new(), vec![0, 0], compressed, two, cut, vec![0, 255, 255, 255, 255]] {
        let refused = access().admit(request("/t.T/Change", &headers, body.clone()), "r").await;
        assert_eq!(reason(&refused.unwrap_err()), "REQUEST_UNREADABLE", "{body:?}");
    }
}

#[test]
fn a_callers_own_id_is_taken_where_it_is_a_sane_one() {
    let id = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, value.parse().unwrap());
        request_id(&headers)
    };
    assert_eq!(id("job-17_a"), "job-17_a");
    for odd in ["", "two words", "<b>", &"x".repeat(65)] {
        assert_ne!(id(odd), odd);
        assert_eq!(id(odd).len(), 20);
    }
}
