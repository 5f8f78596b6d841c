//! What an operator sets in `[edge]`.

use std::net::SocketAddr;

use serde::Deserialize;

/// The table `[edge]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Unique in the fleet: letters, digits, `-`, `_` and `.`. When absent, one is made at the
    /// first start and kept in the edge's folder.
    pub id: Option<String>,
    /// The region it serves, for example `eu-1`.
    pub region: String,
    /// Where policies are served. Default: port 443 of every address.
    #[serde(deserialize_with = "service::config::one_or_many")]
    pub https: Vec<SocketAddr>,
    /// Where HTTP-01 challenges are answered, and nothing else. Default: port 80 of every address.
    #[serde(deserialize_with = "service::config::one_or_many")]
    pub http: Vec<SocketAddr>,
    /// Connections at a time; more are refused. An eighth of them is for `http`, the rest for
    /// `https`. The bound on open files of the process lowers it. Default: 10,000.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            id: None,
            region: String::new(),
            https: vec![SocketAddr::from(([0; 16], 443))],
            http: vec![SocketAddr::from(([0; 16], 80))],
            max_connections: 10_000,
        }
    }
}

/// Why a configuration can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// An edge serves exactly one region.
    #[error("edge.region has to be set to the id of the region that this edge serves")]
    NoRegion,
    /// Names go into bucket names and keys.
    #[error("edge.{key} is {value:?}: use 1 to 64 letters, digits, '-', '_' and '.'")]
    Name {
        /// The key.
        key: &'static str,
        /// What it was set to.
        value: String,
    },
    /// Nobody could be served.
    #[error("edge.https is empty: name at least one address to serve policies on")]
    NoAddress,
    /// Nobody could be served.
    #[error("edge.max_connections is 0: allow at least one")]
    NoConnections,
}

impl Config {
    /// Finds what is wrong.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the key.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if self.region.is_empty() {
            return Err(InvalidConfig::NoRegion);
        }
        check_name("region", &self.region)?;
        if let Some(id) = &self.id {
            check_name("id", id)?;
        }
        if self.https.is_empty() {
            return Err(InvalidConfig::NoAddress);
        }
        if self.max_connections == 0 {
            return Err(InvalidConfig::NoConnections);
        }
        Ok(())
    }
}

/// Longest id of an edge or region: both stand in keys of the bus, next to other parts.
const MAX_NAME_BYTES: usize = 64;

/// Whether it can be the id of an edge or a region.
pub(crate) fn is_id(value: &str) -> bool {
    value.len() <= MAX_NAME_BYTES && bus::check_key(value).is_ok() && !value.contains('=')
}

fn check_name(key: &'static str, value: &str) -> Result<(), InvalidConfig> {
    if is_id(value) {
        Ok(())
    } else {
        let value = value.chars().take(MAX_NAME_BYTES).collect();
        Err(InvalidConfig::Name { key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_refused_by_key() {
        let good = Config { region: "eu-1".into(), ..Config::default() };
        good.check().unwrap();
        for (wrong, said) in [
            (Config { region: String::new(), ..good.clone() }, "edge.region"),
            (Config { region: "eu 1".into(), ..good.clone() }, "edge.region"),
            (Config { region: "x".repeat(65), ..good.clone() }, "edge.region"),
            (Config { id: Some("a/b".into()), ..good.clone() }, "edge.id"),
            (Config { id: Some(String::new()), ..good.clone() }, "edge.id"),
            (Config { https: vec![], ..good.clone() }, "edge.https"),
            (Config { max_connections: 0, ..good }, "edge.max_connections"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
