//! `[control.sign_in]`: with whom people sign in, and what they may do then.

use std::path::PathBuf;

use hosting::{Domain, WorkspaceId};
use serde::Deserialize;
use service::caller::Role;
use service::config::Secret;
use url::{Host, Url};

use crate::identity::Grant;

/// Where a native program listens for the browser (RFC 8252 section 7.3).
const CALLBACK_PATH: &str = "/callback";
/// More text than that is no name, address or group.
const MAX_TEXT_BYTES: usize = 1024;
/// Names for people are short.
const MAX_NAME_CHARS: usize = 64;
/// Claims that people choose themselves or that pass to others (OpenID Connect Core section 5.7).
const NOT_ROLES: [&str; 4] = ["email", "name", "nickname", "preferred_username"];

/// `[control.sign_in]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInConfig {
    /// The provider's issuer identifier, exactly as its discovery document has it.
    pub issuer: String,
    /// The provider's name, for people; its host where left out.
    #[serde(default)]
    pub name: Option<String>,
    /// What the provider calls us.
    pub client_id: String,
    /// The provider's secret with us; none for a public client.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// What is asked for beside `openid`.
    #[serde(default = "email_and_profile")]
    pub scopes: Vec<String>,
    /// The claim that holds a person's groups; `a.b` is `b` inside of `a`.
    #[serde(default = "groups")]
    pub roles_claim: String,
    /// Where browsers may be sent back to, beside programs on a person's own machine.
    #[serde(default)]
    pub redirects: Vec<String>,
    /// PEM file with the roots to trust for the provider; the system's where left out.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// `[[control.sign_in.grant]]`: what a group is worth. Who has none of them is not let in.
    #[serde(default)]
    pub grant: Vec<GrantConfig>,
}

/// `[[control.sign_in.grant]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// A value of the claim.
    pub value: String,
    /// `platform-admin`, `domain-manager` or `read-only`.
    pub role: String,
    /// In which workspace.
    #[serde(default = "default_workspace")]
    pub workspace: String,
    /// For a Domain manager: only these domains, in any spelling; all of the workspace where left out.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// What is wrong with `[control.sign_in]`, one line each, by key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct BadSignIn {
    /// For example `control.sign_in.issuer: write an https:// URL`.
    pub problems: Vec<String>,
}

/// [`SignInConfig`], checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(super) issuer: Url,
    /// As written: providers compare it byte by byte.
    pub(super) issuer_text: String,
    pub(super) name: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<Secret>,
    pub(super) scopes: Vec<String>,
    pub(super) roles_claim: String,
    pub(super) redirects: Vec<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) rules: Vec<Rule>,
}

/// What a value of the claim is worth.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) value: String,
    pub(super) grant: Grant,
}

impl SignInConfig {
    /// # Errors
    /// Everything that can't work, by key.
    pub fn check(&self) -> Result<(), BadSignIn> {
        self.settings().map(|_| ())
    }

    pub(super) fn settings(&self) -> Result<Settings, BadSignIn> {
        let mut problems = Vec::new();
        let issuer = self.issuer_url(&mut problems);
        self.check_texts(&mut problems);
        let rules: Vec<Rule> =
            self.grant.iter().filter_map(|grant| grant.rule(&mut problems)).collect();
        let Some(issuer) = issuer.filter(|_| problems.is_empty()) else {
            return Err(BadSignIn { problems });
        };
        let host = issuer.host_str().unwrap_or_default().to_owned();
        Ok(Settings {
            issuer,
            issuer_text: self.issuer.clone(),
            name: self.name.clone().unwrap_or(host),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            scopes: self.scopes.clone(),
            roles_claim: self.roles_claim.clone(),
            redirects: self.redirects.clone(),
            ca_file: self.ca_file.clone(),
            rules,
        })
    }

    fn issuer_url(&self, problems: &mut Vec<String>) -> Option<Url> {
        let url = Url::parse(&self.issuer).ok();
        let url = url.filter(|url| is_safe(url) && url.query().is_none());
        if url.is_none() {
            problems.push(
                "control.sign_in.issuer: write the provider's https:// URL, without a query; \
                 http:// only where it is on this machine"
                    .to_owned(),
            );
        }
        url
    }

    fn check_texts(&self, problems: &mut Vec<String>) {
        let mut wrong =
            |key: &str, why: &str| problems.push(format!("control.sign_in.{key}: {why}"));
        let name = self.name.as_deref().unwrap_or("a name");
        let short = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
        if !short || name.chars().any(char::is_control) {
            wrong("name", "use 1 to 64 characters");
        }
        if !is_visible(&self.client_id) {
            wrong("client_id", "write what the provider calls this installation");
        }
        for scope in self.scopes.iter().filter(|scope| !is_scope(scope)) {
            wrong("scopes", &format!("{scope:?} is none: use letters, digits and signs"));
        }
        let claim = self.roles_claim.as_str();
        if claim.is_empty() || claim.len() > MAX_TEXT_BYTES || claim.split('.').any(str::is_empty) {
            wrong(
                "roles_claim",
                "name a claim; a dot leads into an object, as in realm_access.roles",
            );
        } else if NOT_ROLES.contains(&claim) {
            wrong(
                "roles_claim",
                &format!(
                    "people can choose their {claim} at many providers: name a claim with groups or roles"
                ),
            );
        }
        for redirect in self.redirects.iter().filter(|redirect| !is_redirect(redirect)) {
            wrong(
                "redirects",
                &format!(
                    "{redirect:?} is no https:// URL without a fragment; http:// only where it is on this machine"
                ),
            );
        }
    }
}

impl GrantConfig {
    fn rule(&self, problems: &mut Vec<String>) -> Option<Rule> {
        let before = problems.len();
        let of = &self.value;
        let mut wrong = |key: &str, why: String| {
            problems.push(format!("control.sign_in.grant.{key} of {of:?}: {why}"));
        };
        if of.is_empty() || of.len() > MAX_TEXT_BYTES {
            wrong("value", "write a group, in 1 to 1024 bytes".to_owned());
        }
        let role: Option<Role> =
            self.role.parse().map_err(|why| wrong("role", format!("{why}"))).ok();
        let workspace: Option<WorkspaceId> =
            self.workspace.parse().map_err(|why| wrong("workspace", format!("{why}"))).ok();
        if !self.domains.is_empty() && role.is_some_and(|role| role != Role::DomainManager) {
            wrong("domains", "only a domain-manager is one for named domains".to_owned());
        }
        let mut domains = Vec::new();
        for name in &self.domains {
            match Domain::parse(name) {
                Ok(domain) => domains.push(domain),
                Err(why) => wrong("domains", format!("{why}")),
            }
        }
        if problems.len() > before {
            return None;
        }
        let grant = Grant { workspace: workspace?, role: role?, domains };
        Some(Rule { value: of.clone(), grant })
    }
}

impl Settings {
    /// Whether a browser may be sent back there: to a program on the person's machine, which chooses
    /// its port (RFC 8252 section 7.3), or to where the configuration says.
    pub(super) fn allows_redirect(&self, uri: &str) -> bool {
        self.redirects.iter().any(|allowed| allowed == uri) || is_own_machine(uri)
    }
}

/// `http://127.0.0.1:<port>/callback` or `http://[::1]:<port>/callback`, in exactly this spelling.
fn is_own_machine(uri: &str) -> bool {
    let rest = uri.strip_prefix("http://127.0.0.1:").or_else(|| uri.strip_prefix("http://[::1]:"));
    let Some(port) = rest.and_then(|rest| rest.strip_suffix(CALLBACK_PATH)) else { return false };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    digits && port.parse::<u16>().is_ok()
}

/// Whether a URL leads to this machine itself, as far as its text tells.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether what passes to and fro there is seen by nobody else.
fn is_safe(url: &Url) -> bool {
    let hidden = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    hidden && plain && url.fragment().is_none()
}

fn is_redirect(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && Url::parse(text).is_ok_and(|url| is_safe(&url))
}

/// A scope token (RFC 6749 section 3.3).
fn is_scope(text: &str) -> bool {
    is_visible(text) && !text.contains(['"', '\\'])
}

fn is_visible(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn email_and_profile() -> Vec<String> {
    vec!["email".to_owned(), "profile".to_owned()]
}

fn groups() -> String {
    "groups".to_owned()
}

fn default_workspace() -> String {
    "default".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_comes_back_only_to_its_own_machine_or_where_the_configuration_says() {
        let mut config = super::super::tests::config();
        config.redirects = vec!["https://panel.example.net/sign-in".to_owned()];
        let settings = config.settings().unwrap();
        for good in [
            "http://127.0.0.1:8080/callback",
            "http://[::1]:1/callback",
            "http://127.0.0.1:65535/callback",
            "https://panel.example.net/sign-in",
        ] {
            assert!(settings.allows_redirect(good), "{good}");
        }
        for wrong in [
            "",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:080/callback",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:80/callback/",
            "http://127.0.0.1:80/callback?x=1",
            "http://127.0.0.1:80/callback#x",
            "http://127.0.0.1:80/other",
            "http://127.0.0.1:80@evil.example/callback",
            "http://127.0.0.1:80.evil.example/callback",
            "https://127.0.0.1:80/callback",
            "http://localhost:80/callback",
            "http://127.0.0.2:80/callback",
            "http://[::1]80/callback",
            "https://panel.example.net/sign-in/",
            "https://panel.example.net/sign-in?next=https://evil.example",
            "https://evil.example/sign-in",
            "javascript:alert(1)",
        ] {
            assert!(!settings.allows_redirect(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        fn check(spoil: impl FnOnce(&mut SignInConfig), named: &str) {
            let mut config = super::super::tests::config();
            spoil(&mut config);
            let said = config.check().unwrap_err().to_string();
            assert!(said.contains(named), "{named}: {said}");
        }
        for issuer in [
            "",
            "login.example.org",
            "http://login.example.org",
            "https://",
            "https://me:secret@login.example.org",
            "https://login.example.org/?tenant=1",
            "https://login.example.org/#x",
            "ldaps://login.example.org",
        ] {
            check(|config| config.issuer = issuer.to_owned(), "control.sign_in.issuer");
        }
        check(|config| config.client_id = String::new(), "control.sign_in.client_id");
        check(|config| config.name = Some(String::new()), "control.sign_in.name");
        check(|config| config.scopes = vec!["email profile".to_owned()], "control.sign_in.scopes");
        for claim in ["", ".", "a..b", "email"] {
            check(|config| config.roles_claim = claim.to_owned(), "control.sign_in.roles_claim");
        }
        for redirect in ["http://panel.example.net/", "https://panel.example.net/#x", "/sign-in"] {
            check(
                |config| config.redirects = vec![redirect.to_owned()],
                "control.sign_in.redirects",
            );
        }
        check(|config| config.grant[0].role = "service".to_owned(), "control.sign_in.grant.role");
        check(|config| config.grant[0].value = String::new(), "control.sign_in.grant.value");
        check(
            |config| config.grant[0].workspace = "A b".to_owned(),
            "control.sign_in.grant.workspace",
        );
        check(
            |config| config.grant[0].domains = vec!["example.com".to_owned()],
            "only a domain-manager",
        );
        check(
            |config| {
                config.grant[0].role = "domain-manager".to_owned();
                config.grant[0].domains = vec!["no domain".to_owned()];
            },
            "control.sign_in.grant.domains",
        );
    }

    #[test]
    fn in_clear_only_on_this_machine() {
        let mut config = super::super::tests::config();
        for issuer in ["http://127.0.0.1:9000", "http://localhost/realm", "http://[::1]:1"] {
            config.issuer = issuer.to_owned();
            config.check().unwrap();
        }
    }
}
