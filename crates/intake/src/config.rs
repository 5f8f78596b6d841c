//! `[intake]` of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

/// `[intake]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of its gRPC API where it runs by itself.
    pub listen: Option<SocketAddr>,
    /// `sqlite://<file>` or `postgres://…`; `<data_dir>/intake.db` where it is not set.
    pub store: Option<String>,
}
