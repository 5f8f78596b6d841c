//! What to do after a refusal.

use std::collections::BTreeMap;

/// What to do without a token, or with one that is none.
pub(crate) const EXPORT_TOKEN: &str = "export DMARCER_TOKEN=\"$(cat <data_dir>/admin-token)\"";
/// What people do who have no token, or one that has ended.
pub(super) const LOGIN: &str = "dmarcer login";

/// The commands that most people need after a refusal.
pub(super) fn next_commands(reason: &str, metadata: &BTreeMap<String, String>) -> Vec<String> {
    let about = |key: &str, otherwise: &str| match metadata.get(key) {
        Some(value) if !value.is_empty() => value.clone(),
        _ => otherwise.to_owned(),
    };
    let domain = about("domain", "NAME");
    let one = |hint: &str| vec![hint.to_owned()];
    match reason {
        "TOKEN_REQUIRED" | "TOKEN_INVALID" => vec![LOGIN.to_owned(), EXPORT_TOKEN.to_owned()],
        "SIGN_IN_NOT_CONFIGURED" => vec![
            "ask a Platform admin for a token (dmarcer token create NAME)".to_owned(),
            "dmarcer context add NAME --server URL --token-stdin".to_owned(),
        ],
        "SIGN_IN_EXPIRED" | "SIGN_IN_FAILED" | "SIGN_IN_REFUSED" => one(LOGIN),
        "NO_ROLE" => one("ask a Platform admin: dmarcer member add WHO --role read-only"),
        "ROLE_REQUIRED" | "DOMAIN_NOT_YOURS" => vec![
            "dmarcer whoami".to_owned(),
            format!("ask a Platform admin: dmarcer member set WHO --role {}", role(metadata)),
        ],
        "TOKEN_LIMIT" => one("dmarcer token list"),
        "ROLE_TOO_HIGH" => one("dmarcer whoami"),
        "WORKSPACE_REQUIRED" => {
            vec![
                "pass --workspace ID, or set DMARCER_WORKSPACE".to_owned(),
                "dmarcer context use NAME --workspace ID chooses one from now on".into(),
            ]
        }
        "WORKSPACE_NOT_FOUND" | "WORKSPACE_EXISTS" => one("dmarcer workspace list"),
        "WORKSPACE_HAS_DOMAINS" => {
            one(&format!("dmarcer domain list --workspace {}", about("workspace", "ID")))
        }
        "MEMBER_NOT_FOUND" => one("dmarcer member list"),
        "MEMBER_EXISTS" => one(&format!("dmarcer member set {} --role ROLE", about("who", "WHO"))),
        "LAST_PLATFORM_ADMIN" => one("dmarcer member set WHO --role platform-admin"),
        "TOKEN_NOT_FOUND" => one("dmarcer token list --all"),
        "TOKEN_SHOWN_ONCE" => one("dmarcer token create NAME"),
        "IDEMPOTENCY_KEY_REUSED" => {
            one("leave --idempotency-key out, or choose another for another change")
        }
        "DOMAIN_PARKED" => one(&format!("dmarcer domain convert {domain} --to standard")),
        "DOMAIN_NOT_FOUND" => one("dmarcer domain list"),
        "NO_ACTIVE_REGION" => one("dmarcer region add ID --host HOST"),
        "REGION_NOT_FOUND" | "REGION_DISABLED" => one("dmarcer region list"),
        "HOSTING_OFF" => one(&format!("dmarcer hosting activate {domain}")),
        "HOSTING_ACTIVE" => one(&format!("dmarcer hosting status {domain}")),
        "STOPPING" => one(&format!("dmarcer hosting cancel {domain}")),
        "NOT_PROVEN" => one(&format!("dmarcer dns records {domain}")),
        "REVISION_CONFLICT" => one(&format!("dmarcer policy show {domain}")),
        "PLACEHOLDER_POLICY" => one(&format!("dmarcer policy refresh-mx {domain}")),
        "MX_UNCOVERED" => one(&format!("dmarcer policy plan-mx {domain}")),
        _ => Vec::new(),
    }
}

/// The role that would do. Where a domain is what is missing, it comes beside those there are: setting a
/// role replaces its domains.
fn role(metadata: &BTreeMap<String, String>) -> String {
    let needed = metadata.get("needed").map_or("domain-manager", String::as_str);
    let of = |name: &str| metadata.get(name).map_or("", String::as_str).split(", ");
    let domains = of("domains").chain(of("domain")).filter(|domain| !domain.is_empty());
    domains.fold(needed.to_owned(), |role, domain| format!("{role} --domain {domain}"))
}
