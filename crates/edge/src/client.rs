//! What kind of client fetches, from its User-Agent.

use http::HeaderValue;

/// A client that says nothing of itself, as some mail servers' libraries do.
pub(crate) const UNKNOWN: &str = "unknown";
/// A person who looks at the file.
const BROWSER: &str = "browser";
/// Our own probe: it says nothing about who fetches.
const PROBE: &str = "dmarcer-probe";

/// Longest kind: real products have less.
const MAX_KIND_BYTES: usize = 40;

/// What browsers end their User-Agent with, other products that begin with "Mozilla" do not.
const BROWSERS: [&str; 5] = ["Safari", "Firefox", "Gecko", "Edg", "OPR"];

/// The product without its version, for example `postfix-mta-sts-resolver`; none for our probe.
pub(crate) fn kind(user_agent: Option<&HeaderValue>) -> Option<&str> {
    let text = user_agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut product = product(text);
    if product == "Mozilla" {
        // `Mozilla/5.0 (Linux; …) checkdmarc/5`: everybody begins like this; the end tells.
        let last = text.rsplit_once(' ').map_or("", |(_, last)| last);
        let (name, _) = last.split_once('/').unwrap_or_default();
        let made_up = name.is_empty() || self::product(name) != name;
        product = if made_up || BROWSERS.contains(&name) { BROWSER } else { name };
    }
    match product {
        "" => Some(UNKNOWN),
        PROBE => None,
        product => Some(&product[..product.len().min(MAX_KIND_BYTES)]),
    }
}

/// The first product's name: letters, digits and a few harmless marks.
fn product(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_product() {
        for (user_agent, kind) in [
            ("postfix-mta-sts-resolver", Some("postfix-mta-sts-resolver")),
            ("Go-http-client/2.0", Some("Go-http-client")),
            ("curl/7.88.1", Some("curl")),
            ("email-domain-check", Some("email-domain-check")),
            ("Mozilla/5.0 (Linux; x86) checkdmarc/6.0.4", Some("checkdmarc")),
            ("Mozilla/5.0 (X11) AppleWebKit/537.36 Chrome/1 Safari/537.36", Some("browser")),
            ("Mozilla/5.0 (X11; Linux)", Some("browser")),
            ("Mozilla/5.0", Some("browser")),
            ("dmarcer-probe/0.1", None),
            ("", Some("unknown")),
            ("<script>", Some("unknown")),
            ("(nobody)", Some("unknown")),
            (&"x".repeat(500), Some(&"x".repeat(40))),
        ] {
            let value = HeaderValue::from_str(user_agent).unwrap();
            assert_eq!(super::kind(Some(&value)), kind, "{user_agent}");
        }
        assert_eq!(kind(None), Some("unknown"));
        let not_text = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
        assert_eq!(kind(Some(&not_text)), Some("unknown"));
    }
}
