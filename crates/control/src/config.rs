//! `[control]` and `[[region]]` of the configuration.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use service::config::Secret;

use crate::sign_in::SignInConfig;

/// `[control]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the gRPC listener; in one process it answers for every service.
    pub listen: SocketAddr,
    /// `sqlite://<file>` or `postgres://…`; `<data_dir>/control.db` where it is not set.
    pub store: Option<String>,
    /// A Platform admin's token that is there from the start, for automation and first use.
    pub admin_token: Option<Secret>,
    /// With whom people sign in. Without it, tokens are the only way in.
    pub sign_in: Option<SignInConfig>,
}

impl Default for Config {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 7443));
        Config { listen, store: None, admin_token: None, sign_in: None }
    }
}

/// `[[region]]`: a region that exists from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// 1 to 32 of a-z, 0-9 and inner hyphens.
    pub id: String,
    /// For people. Where it is not set: as `dmarcer region set` has set it, or the id.
    #[serde(default)]
    pub name: Option<String>,
    /// Host name that claims' CNAME targets end in; publish `*.<host>` with the edges' addresses.
    pub host: String,
    /// Mailbox for TLS-RPT reports; empty for none. Where it is not set: as `dmarcer region set`
    /// has set it, or none.
    #[serde(default)]
    pub reports: Option<String>,
}
