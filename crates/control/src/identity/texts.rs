//! What people type: names, addresses, ids. Checked once, at the rim.

use std::collections::BTreeSet;

use hosting::{Domain, WorkspaceId};
use service::caller::Role;
use wire::access;

use super::power::Power;
use super::refused::Refused;

/// For people; longer names break their tables.
const MAX_NAME_CHARS: usize = 64;
/// A path of RFC 5321 section 4.5.3.1.3 without its brackets.
const MAX_EMAIL_BYTES: usize = 254;
/// OpenID Connect Core section 2: `sub` has at most so many.
const MAX_SUBJECT_BYTES: usize = 255;
/// A workspace's id is part of other names.
const MAX_WORKSPACE_BYTES: usize = 32;
/// Every call of a Domain manager carries and compares them; who manages more gets a workspace.
const MAX_NAMED_DOMAINS: usize = 100;

/// What a member is called who is known by the sign-in provider's own name for them.
pub(crate) const SUBJECT: &str = "sub:";

/// The chain of records that belong to no workspace has this name.
const RESERVED: &str = "platform";

/// A name for people: 1 to 64 characters, all of them to be seen.
pub(crate) fn name(field: &'static str, text: &str) -> Result<String, Refused> {
    let text = text.trim();
    let fits = (1..=MAX_NAME_CHARS).contains(&text.chars().count());
    if !fits || text.contains(unseen) {
        return Err(Refused::invalid(
            field,
            "it has to have 1 to 64 characters, none of them invisible or a control character",
        ));
    }
    Ok(text.to_owned())
}

/// A name as somebody else gives it: what can't be shown is left out.
pub(crate) fn cleaned(text: &str) -> String {
    let seen: String = text.chars().filter(|c| !unseen(*c)).take(MAX_NAME_CHARS).collect();
    seen.trim().to_owned()
}

/// The id of a new workspace.
pub(crate) fn new_workspace(id: &str) -> Result<WorkspaceId, Refused> {
    if id == RESERVED {
        return Err(Refused::WorkspaceExists { workspace: id.to_owned() });
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (1..=MAX_WORKSPACE_BYTES).contains(&id.len());
    let right = fits && id.chars().all(plain) && !id.starts_with('-') && !id.ends_with('-');
    let id = id.parse().ok().filter(|_| right);
    id.ok_or_else(|| {
        Refused::invalid("id", "enter 1 to 32 lower-case letters, digits and inner hyphens")
    })
}

/// Whom a member is: a lower-case e-mail address, or `sub:` and the provider's name for them.
pub(crate) fn who(text: &str) -> Result<String, Refused> {
    let wrong = || {
        Refused::invalid(
            "who",
            "enter an e-mail address, or sub: and the sign-in provider's own name for the person",
        )
    };
    let text = text.trim();
    match text.strip_prefix(SUBJECT) {
        Some(subject) => is_subject(subject).then(|| text.to_owned()).ok_or_else(wrong),
        None => email(text).ok_or_else(wrong),
    }
}

/// An e-mail address in its one spelling here, in which ASCII letters are small; none where it is none.
pub(crate) fn email(text: &str) -> Option<String> {
    // Quoted local parts and literals (RFC 5321 section 4.1.2) are nobody's address here; the colon
    // also keeps an address from looking like a subject.
    let special = |c: char| "\"(),:;<>[]\\".contains(c);
    let (local, domain) = text.split_once('@')?;
    let right = !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
        && text.len() <= MAX_EMAIL_BYTES
        && !text.contains(|c: char| c.is_whitespace() || unseen(c) || special(c));
    // Only ASCII is folded: over all of Unicode other letters fold to these, the Kelvin sign to k, and
    // one person's verified address would become another's.
    right.then(|| text.to_ascii_lowercase())
}

/// Whether a sign-in provider can mean somebody by it.
pub(crate) fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len()) && !text.contains(unseen)
}

/// A role that has to be said.
pub(crate) fn role(wanted: i32) -> Result<Role, Refused> {
    asked_role(wanted)?
        .ok_or_else(|| Refused::invalid("role", "say read-only, domain-manager or platform-admin"))
}

/// A role that may be left out.
pub(crate) fn asked_role(wanted: i32) -> Result<Option<Role>, Refused> {
    match access::Role::try_from(wanted) {
        Ok(access::Role::Unspecified) => Ok(None),
        Ok(access::Role::ReadOnly) => Ok(Some(Role::ReadOnly)),
        Ok(access::Role::DomainManager) => Ok(Some(Role::DomainManager)),
        Ok(access::Role::PlatformAdmin) => Ok(Some(Role::PlatformAdmin)),
        Err(_) => Err(Refused::invalid("role", "there is no such role")),
    }
}

/// A role and its domains, as somebody wants to give them.
pub(crate) fn power(wanted: i32, named: &[String]) -> Result<Power, Refused> {
    let role = role(wanted)?;
    Ok(Power::new(role, domains(role, named)?))
}

/// The domains that a role is to be for, in any spelling.
pub(crate) fn domains(role: Role, named: &[String]) -> Result<BTreeSet<Domain>, Refused> {
    if !named.is_empty() && role != Role::DomainManager {
        let why = format!("only a domain-manager can be for named domains, not a {role}");
        return Err(Refused::invalid("domains", why));
    }
    if named.len() > MAX_NAMED_DOMAINS {
        let why =
            format!("name at most {MAX_NAMED_DOMAINS}, or give the domains their own workspace");
        return Err(Refused::invalid("domains", why));
    }
    named.iter().map(|name| Ok(Domain::parse(name)?)).collect()
}

/// Control characters, and those that are not seen or turn others around.
fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_seen_as_it_is() {
        let long = "n".repeat(65);
        let wide = "ü".repeat(64);
        for (text, expected) in [
            ("CI deploy", Some("CI deploy")),
            ("  padded ", Some("padded")),
            (&wide, Some(wide.as_str())),
            ("'; DROP TABLE tokens; --", Some("'; DROP TABLE tokens; --")),
            ("<b>", Some("<b>")),
            ("", None),
            (" \u{3000}", None),
            (&long, None),
            ("a\nb", None),
            ("a\u{0}b", None),
            ("a\u{1b}[31m", None),
            ("abc\u{202e}cba", None),
            ("a\u{200b}b", None),
            ("a\u{2066}b", None),
        ] {
            let read = name("name", text);
            assert_eq!(read.as_deref().ok(), expected, "{text:?}");
            if let Err(refused) = read {
                assert!(refused.to_string().starts_with("name: "), "{refused}");
            }
        }
    }

    #[test]
    fn a_member_is_an_address_or_a_subject() {
        let at = |bytes: usize| format!("{}@example.org", "a".repeat(bytes - 12));
        for (text, expected) in [
            ("alice@example.org", Some("alice@example.org")),
            (" Alice@Example.ORG ", Some("alice@example.org")),
            ("alice+tag@example.org", Some("alice+tag@example.org")),
            ("jürgen@exämple.org", Some("jürgen@exämple.org")),
            ("JÜRGEN@example.org", Some("jÜrgen@example.org")),
            ("\u{212a}ate@example.org", Some("\u{212a}ate@example.org")),
            (&at(254), Some(at(254).as_str())),
            (&at(255), None),
            ("sub:00u1a2B3", Some("sub:00u1a2B3")),
            ("sub:auth0|5f7c", Some("sub:auth0|5f7c")),
            ("sub:alice@example.org", Some("sub:alice@example.org")),
            ("sub:", None),
            ("SUB:x@example.org", None),
            (&format!("sub:{}", "s".repeat(255)), Some(&format!("sub:{}", "s".repeat(255)))),
            (&format!("sub:{}", "s".repeat(256)), None),
            ("sub:a\u{0}", None),
            ("", None),
            ("alice", None),
            ("@example.org", None),
            ("alice@", None),
            ("a@b@example.org", None),
            ("a b@example.org", None),
            ("a\t@example.org", None),
            ("a\u{202e}@example.org", None),
            ("\"a\"@example.org", None),
            ("<a@example.org>", None),
            ("a@[192.0.2.1]", None),
            ("mailto:a@example.org", None),
        ] {
            assert_eq!(who(text).as_deref().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_workspaces_id_is_plain_and_short() {
        for (text, expected) in [
            ("acme", None),
            ("a", None),
            ("a-1", None),
            (&"a".repeat(32), None),
            (&"a".repeat(33), Some("INVALID_ARGUMENT")),
            ("", Some("INVALID_ARGUMENT")),
            ("-a", Some("INVALID_ARGUMENT")),
            ("a-", Some("INVALID_ARGUMENT")),
            ("Acme", Some("INVALID_ARGUMENT")),
            ("a b", Some("INVALID_ARGUMENT")),
            ("a/b", Some("INVALID_ARGUMENT")),
            ("ä", Some("INVALID_ARGUMENT")),
            ("platform", Some("WORKSPACE_EXISTS")),
        ] {
            let read = new_workspace(text);
            assert_eq!(read.err().map(|refused| refused.reason()), expected, "{text:?}");
        }
    }

    #[test]
    fn only_a_domain_manager_is_for_named_domains() {
        let named = ["Example.COM.".to_owned(), "example.com".to_owned()];
        let domains = |role, named: &[String]| super::domains(role, named);
        assert_eq!(domains(Role::DomainManager, &named).unwrap().len(), 1);
        for role in [Role::ReadOnly, Role::PlatformAdmin] {
            assert_eq!(domains(role, &named).unwrap_err().reason(), "INVALID_ARGUMENT", "{role}");
            assert!(domains(role, &[]).unwrap().is_empty());
        }
        let many: Vec<String> = (0..101).map(|n| format!("d{n}.example")).collect();
        assert_eq!(domains(Role::DomainManager, &many).unwrap_err().reason(), "INVALID_ARGUMENT");
        let wrong = domains(Role::DomainManager, &["com".to_owned()]).unwrap_err();
        assert_eq!(wrong.reason(), "INVALID_DOMAIN");
    }

    #[test]
    fn a_role_that_has_to_be_said_is_missed() {
        assert_eq!(role(2), Ok(Role::DomainManager));
        for wanted in [0, 4, -1, 999] {
            assert_eq!(role(wanted).unwrap_err().reason(), "INVALID_ARGUMENT", "{wanted}");
        }
        assert_eq!(asked_role(0), Ok(None));
        assert!(asked_role(999).is_err());
    }
}
