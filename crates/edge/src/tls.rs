//! TLS as a policy host owes it: a certificate for the name that was asked for, or no handshake.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::*;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::sites::Sites;

/// What negotiates HTTP/2.
pub(crate) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// AWS-LC with AES-128-GCM first: for a few hundred bytes it costs least, with SHA-256 throughout.
/// X25519 first: what nearly all clients send a share for, and cheaper than the other groups.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
            kx_group::X25519MLKEM768,
        ],
        ..default_provider()
    }
}

/// TLS 1.2 and 1.3 by server name. No client certificates, no early data, and no tickets or
/// sessions: fetchers come once in hours and resume nothing, and a session can then never be
/// resumed under another name.
pub(crate) fn config(
    provider: Arc<CryptoProvider>,
    sites: Arc<Sites>,
) -> Result<ServerConfig, rustls::Error> {
    let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { sites }));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The policy domain that a server name stands for: `example.com` for `MTA-STS.example.com`.
pub(crate) fn domain_of(server_name: &str) -> Option<String> {
    let name = server_name.strip_suffix('.').unwrap_or(server_name).to_ascii_lowercase();
    let domain = name.strip_prefix("mta-sts.")?;
    (!domain.is_empty()).then(|| domain.to_owned())
}

struct ByName {
    sites: Arc<Sites>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByName")
    }
}

impl ResolvesServerCert for ByName {
    /// None aborts the handshake with a fatal alert: no certificate matches, and no other one is
    /// to be shown ([RFC 8461 section 7.1](https://www.rfc-editor.org/rfc/rfc8461#section-7.1)).
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let domain = domain_of(hello.server_name()?)?;
        let site = self.sites.site(&domain)?;
        Some(site.certified.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_stands_for_its_policy_domain() {
        for (name, domain) in [
            ("mta-sts.example.com", Some("example.com")),
            ("MTA-STS.Example.COM", Some("example.com")),
            ("mta-sts.example.com.", Some("example.com")),
            ("mta-sts.mta-sts.com", Some("mta-sts.com")),
            ("mta-sts.", None),
            ("mta-sts", None),
            ("example.com", None),
            ("xmta-sts.example.com", None),
            ("", None),
        ] {
            assert_eq!(domain_of(name).as_deref(), domain, "{name}");
        }
    }
}
