//! From what the provider says of a person to what they are given here. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hosting::Domain;
use serde_json::{Map, Value};

use super::config::{Rule, Settings};
use super::failure::{Failure, ID_TOKEN, clean};
use crate::identity::{Grant, SignedIn};

/// No provider's name for a person is longer (OpenID Connect Core section 2).
const MAX_SUBJECT_BYTES: usize = 255;
/// No mail address is longer (RFC 5321 section 4.5.3.1.3).
const MAX_EMAIL_BYTES: usize = 254;
/// Nobody is in more groups; what comes after these counts for nothing.
const MAX_VALUES: usize = 10_000;
/// A name for people is cut to so many characters.
const MAX_NAME_CHARS: usize = 128;

/// Claims, by name.
pub(super) type Claims = Map<String, Value>;

/// What the provider has said of a person.
pub(super) struct Told {
    /// In the ID token, whose checks are passed.
    pub(super) id_token: Claims,
    /// At userinfo, where it was asked, of the same subject.
    pub(super) userinfo: Option<Claims>,
}

/// What was found where a person's roles should be, for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roles {
    Missing,
    NoText,
    Values { count: usize },
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Roles::Missing => f.write_str("the provider sends no such claim"),
            Roles::NoText => f.write_str("the claim is neither a text nor a list of texts"),
            Roles::Values { count } => {
                write!(f, "of the {count} values of the claim, none is granted")
            }
        }
    }
}

/// Whether an ID token says all that we want to know.
pub(super) fn are_enough(id_token: &Claims, settings: &Settings) -> bool {
    find(id_token, &settings.roles_claim).is_some() && id_token.contains_key("email")
}

/// Who that is, and what they are given.
pub(super) fn person(told: &Told, settings: &Settings) -> Result<(SignedIn, Roles), Failure> {
    let sources = || [Some(&told.id_token), told.userinfo.as_ref()].into_iter().flatten();
    let subject = text(&told.id_token, "sub").unwrap_or_default();
    if !(1..=MAX_SUBJECT_BYTES).contains(&subject.len()) || subject.chars().any(char::is_control) {
        return Err(Failure::unbelievable(ID_TOKEN, "its sub is no name of anybody"));
    }
    // An address and the word that it is verified have to be from the same source.
    let email = sources().find_map(verified_email);
    let roles = sources().find_map(|claims| find(claims, &settings.roles_claim));
    let (values, roles) = values(roles);
    let name = ["name", "preferred_username"]
        .into_iter()
        .find_map(|claim| sources().find_map(|claims| text(claims, claim)))
        .map(named)
        .filter(|name| !name.is_empty());
    let person = SignedIn {
        issuer: settings.issuer_text.clone(),
        name: name.or_else(|| email.clone()).unwrap_or_else(|| named(subject)),
        subject: subject.to_owned(),
        email,
        granted: grants(&values, &settings.rules),
    };
    Ok((person, roles))
}

/// What values are worth: for each workspace the highest role, and the domains of all that give it.
fn grants(values: &BTreeSet<&str>, rules: &[Rule]) -> Vec<Grant> {
    let mut granted: BTreeMap<&str, Grant> = BTreeMap::new();
    for Rule { grant, .. } in rules.iter().filter(|rule| values.contains(rule.value.as_str())) {
        let known = granted.entry(grant.workspace.as_str()).or_insert_with(|| grant.clone());
        if grant.role > known.role {
            *known = grant.clone();
        } else if grant.role == known.role {
            known.domains = both(&known.domains, &grant.domains);
        }
    }
    granted.into_values().collect()
}

/// The domains of two grants of one role. None named is all.
fn both(some: &[Domain], others: &[Domain]) -> Vec<Domain> {
    if some.is_empty() || others.is_empty() {
        return Vec::new();
    }
    let all = some.iter().chain(others).map(|domain| (domain.as_str(), domain));
    all.collect::<BTreeMap<_, _>>().into_values().cloned().collect()
}

fn values(roles: Option<&Value>) -> (BTreeSet<&str>, Roles) {
    let values: BTreeSet<&str> = match roles {
        None => return (BTreeSet::new(), Roles::Missing),
        Some(Value::String(only)) => BTreeSet::from([only.as_str()]),
        Some(Value::Array(values)) => {
            values.iter().take(MAX_VALUES).filter_map(Value::as_str).collect()
        }
        Some(_) => return (BTreeSet::new(), Roles::NoText),
    };
    let count = values.len();
    (values, Roles::Values { count })
}

/// The claim at a path: `a.b` is the claim of that name, as some providers put a URL into it, or `b`
/// inside of `a`.
fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| {
            let inner = claims.get(&path[..dot])?.as_object()?;
            find(inner, &path[dot + 1..])
        })
    })
}

/// An address that the provider has verified, lower case. Others can be anybody's.
fn verified_email(claims: &Claims) -> Option<String> {
    match claims.get("email_verified")? {
        Value::Bool(true) => {}
        // Some write it as a text.
        Value::String(text) if text == "true" => {}
        _ => return None,
    }
    let email = text(claims, "email")?.to_ascii_lowercase();
    let (local, host) = email.rsplit_once('@')?;
    let whole = !local.is_empty() && !host.is_empty() && email.len() <= MAX_EMAIL_BYTES;
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    (whole && email.chars().all(plain)).then_some(email)
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

fn named(text: &str) -> String {
    clean(text).chars().take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use service::caller::Role;
    use service::caller::Role::{DomainManager, PlatformAdmin, ReadOnly};

    use super::super::config::GrantConfig;
    use super::*;

    fn claims(value: Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    fn settings(roles_claim: &str) -> Settings {
        let grant = |value: &str, role: &str, workspace: &str, domains: &[&str]| GrantConfig {
            value: value.to_owned(),
            role: role.to_owned(),
            workspace: workspace.to_owned(),
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        };
        let mut config = super::super::tests::config();
        config.roles_claim = roles_claim.to_owned();
        config.grant = vec![
            grant("admins", "platform-admin", "default", &[]),
            grant("everybody", "read-only", "default", &[]),
            grant("mail", "domain-manager", "acme", &[]),
            grant("mail-com", "domain-manager", "acme", &["example.com"]),
            grant("mail-net", "domain-manager", "acme", &["EXAMPLE.net", "example.com"]),
            grant("auditors", "read-only", "acme", &[]),
        ];
        config.settings().unwrap()
    }

    /// The roles and domains that values give, by workspace.
    fn given(values: Value) -> Vec<(String, Role, Vec<String>)> {
        let told = Told { id_token: claims(json!({"sub": "1", "groups": values})), userinfo: None };
        let (person, _) = person(&told, &settings("groups")).unwrap();
        let plain = |grant: Grant| {
            let domains = grant.domains.iter().map(ToString::to_string).collect();
            (grant.workspace.to_string(), grant.role, domains)
        };
        person.granted.into_iter().map(plain).collect()
    }

    #[test]
    fn values_of_the_claim_give_roles_and_nothing_else_does() {
        fn check(values: Value, expected: &[(&str, Role, &[&str])]) {
            let expected: Vec<_> = expected
                .iter()
                .map(|(workspace, role, domains)| {
                    let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
                    ((*workspace).to_owned(), *role, domains)
                })
                .collect::<Vec<(String, Role, Vec<String>)>>();
            assert_eq!(given(values.clone()), expected, "{values}");
        }
        check(json!("admins"), &[("default", PlatformAdmin, &[])]);
        check(json!(["admins"]), &[("default", PlatformAdmin, &[])]);
        check(json!(["everybody", "admins"]), &[("default", PlatformAdmin, &[])]);
        check(json!(["mail-com"]), &[("acme", DomainManager, &["example.com"])]);
        check(
            json!(["mail-com", "mail-net"]),
            &[("acme", DomainManager, &["example.com", "example.net"])],
        );
        // All of the workspace is more than some of its domains.
        check(json!(["mail-com", "mail"]), &[("acme", DomainManager, &[])]);
        check(json!(["mail", "mail-com"]), &[("acme", DomainManager, &[])]);
        // A lower role for all of it takes nothing from the higher one.
        check(json!(["auditors", "mail-com"]), &[("acme", DomainManager, &["example.com"])]);
        check(json!(["mail-com", "auditors"]), &[("acme", DomainManager, &["example.com"])]);
        check(
            json!(["auditors", "everybody"]),
            &[("acme", ReadOnly, &[]), ("default", ReadOnly, &[])],
        );
        for nothing in [
            json!([]),
            json!(""),
            json!(null),
            json!("Admins"),
            json!("admins "),
            json!("admins everybody"),
            json!("admins,everybody"),
            json!({"admins": true}),
            json!([["admins"], {"admins": 1}, 1, null]),
            json!(true),
        ] {
            check(nothing, &[]);
        }
    }

    #[test]
    fn more_groups_than_anybody_has_are_not_looked_at() {
        let mut values = vec![json!("x"); MAX_VALUES];
        values.push(json!("admins"));
        assert_eq!(given(Value::Array(values)), []);
    }

    #[test]
    fn the_claim_is_found_by_its_name_and_inside_of_others() {
        fn check(path: &str, found: Value, expected: Option<Value>) {
            let found = claims(found);
            assert_eq!(find(&found, path), expected.as_ref(), "{path} in {found:?}");
        }
        check("groups", json!({"groups": ["a"]}), Some(json!(["a"])));
        check("groups", json!({"Groups": ["a"]}), None);
        check("realm_access.roles", json!({"realm_access": {"roles": ["a"]}}), Some(json!(["a"])));
        check("realm_access.roles", json!({"realm_access": ["roles"]}), None);
        check("https://x.test/roles", json!({"https://x.test/roles": "a"}), Some(json!("a")));
        check("a.b.c", json!({"a.b": {"c": "1"}}), Some(json!("1")));
        check("a.b.c", json!({"a": {"b.c": "1"}}), Some(json!("1")));
        check("a.b.c", json!({"a": {"b": "1"}}), None);
    }

    #[test]
    fn an_address_counts_only_where_the_provider_has_verified_it() {
        fn check(email: Value, verified: Value, expected: Option<&str>) {
            let found = claims(json!({"email": email, "email_verified": verified}));
            assert_eq!(verified_email(&found).as_deref(), expected, "{found:?}");
        }
        check(json!("Alice@Example.ORG"), json!(true), Some("alice@example.org"));
        check(json!("alice@example.org"), json!("true"), Some("alice@example.org"));
        for unverified in [json!(false), json!(null), json!("false"), json!(1), json!([true])] {
            check(json!("alice@example.org"), unverified, None);
        }
        for none in
            ["", "@", "alice", "@example.org", "alice@", "a b@example.org", "a\n@example.org"]
        {
            check(json!(none), json!(true), None);
        }
        check(json!(["alice@example.org"]), json!(true), None);
        assert_eq!(verified_email(&claims(json!({"email": "alice@example.org"}))), None);
    }

    #[test]
    fn an_address_is_not_verified_by_what_another_source_says() {
        let told = Told {
            id_token: claims(json!({"sub": "1", "email": "boss@example.org"})),
            userinfo: Some(claims(json!({
                "sub": "1", "email": "alice@example.org", "email_verified": true,
            }))),
        };
        let (person, _) = person(&told, &settings("groups")).unwrap();
        assert_eq!(person.email.as_deref(), Some("alice@example.org"));
    }

    #[test]
    fn the_id_token_counts_before_userinfo() {
        let told = Told {
            id_token: claims(json!({"sub": "1", "groups": [], "name": "Alice"})),
            userinfo: Some(claims(json!({"sub": "1", "groups": ["admins"], "name": "Bob"}))),
        };
        let (person, roles) = person(&told, &settings("groups")).unwrap();
        assert_eq!(
            (person.name.as_str(), person.granted, roles),
            ("Alice", vec![], Roles::Values { count: 0 })
        );
    }

    #[test]
    fn a_person_is_named_by_what_there_is_on_one_line() {
        fn check(found: Value, expected: &str) {
            let told = Told { id_token: claims(found), userinfo: None };
            let (person, _) = person(&told, &settings("groups")).unwrap();
            assert_eq!(person.name, expected);
        }
        check(json!({"sub": "1", "name": "Alice"}), "Alice");
        check(json!({"sub": "1", "name": "Al\r\nice\u{202e}"}), "Al  ice");
        check(json!({"sub": "1", "name": " ", "preferred_username": "al"}), "1");
        check(json!({"sub": "1", "preferred_username": "al"}), "al");
        check(json!({"sub": "1", "email": "a@b.c", "email_verified": true}), "a@b.c");
        check(json!({"sub": "1"}), "1");
        check(json!({"sub": "1", "name": "x".repeat(5_000)}), &"x".repeat(MAX_NAME_CHARS));
    }

    #[test]
    fn a_subject_that_nobody_can_have_is_refused() {
        for sub in [json!(""), json!("a\nb"), json!("x".repeat(256)), json!(1)] {
            let told = Told { id_token: claims(json!({"sub": sub})), userinfo: None };
            assert!(person(&told, &settings("groups")).is_err());
        }
    }
}
