//! The configuration of a process that runs every service.

mod problems;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use service::access::LimitsConfig;
use service::config::Secret;
use service::telemetry::LogFormat;
use url::Url;

/// The whole file. `deploy/dmarcer.toml` documents each key; a test holds it against this.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where everything is kept that is not configured to be elsewhere.
    pub(crate) data_dir: PathBuf,
    pub(crate) log: LogConfig,
    pub(crate) bus: BusConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) control: control::Config,
    pub(crate) dns: dns::Config,
    pub(crate) issuer: issuer::Config,
    pub(crate) edge: Option<edge::Config>,
    pub(crate) intake: intake::Config,
    /// `[[region]]`: regions that exist from the start.
    pub(crate) region: Vec<control::RegionConfig>,
}

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormatName,
    /// As in `RUST_LOG`, which overrides it.
    pub(crate) level: String,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormatName {
    /// One line for a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormatName> for LogFormat {
    fn from(name: LogFormatName) -> LogFormat {
        match name {
            LogFormatName::Text => LogFormat::Text,
            LogFormatName::Json => LogFormat::Json,
        }
    }
}

/// `[bus]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BusConfig {
    /// `embedded`.
    pub(crate) url: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("dmarcer-data"),
            log: LogConfig::default(),
            bus: BusConfig::default(),
            limits: LimitsConfig::default(),
            control: control::Config::default(),
            dns: dns::Config::default(),
            issuer: issuer::Config::default(),
            edge: None,
            intake: intake::Config::default(),
            region: Vec::new(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { format: LogFormatName::Text, level: "info".to_owned() }
    }
}

impl Default for BusConfig {
    fn default() -> BusConfig {
        BusConfig { url: "embedded".to_owned() }
    }
}

impl Config {
    /// Reads the file, and the environment over it.
    ///
    /// # Errors
    /// What is wrong, by key, one line each.
    pub(crate) fn load(file: Option<&Path>) -> Result<Config, Vec<String>> {
        let config = Config::read(file)?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// As [`Config::load`], without a look at what the values mean.
    ///
    /// # Errors
    /// What can't be read, by key, one line each.
    pub(crate) fn read(file: Option<&Path>) -> Result<Config, Vec<String>> {
        service::config::load(file).map_err(|error| error.problems)
    }

    /// The edge of this process: the one configured, or else one for the only region; none where
    /// there is no region to serve.
    pub(crate) fn edge(&self) -> Option<edge::Config> {
        let only = match self.region.as_slice() {
            [only] => Some(only.id.clone()),
            _ => None,
        };
        let mut edge = match (&self.edge, &only) {
            (None, None) => return None,
            (edge, _) => edge.clone().unwrap_or_default(),
        };
        if edge.region.is_empty() {
            edge.region = only.unwrap_or_default();
        }
        Some(edge)
    }

    /// Where a service keeps its tables.
    pub(crate) fn store(&self, service: &str, configured: Option<&String>) -> String {
        if let Some(url) = configured {
            return url.clone();
        }
        let file = self.data_dir.join(format!("{service}.db"));
        // A URL has no spaces and no relative paths.
        let url = std::path::absolute(&file).ok().and_then(|file| Url::from_file_path(file).ok());
        match url {
            Some(url) => format!("sqlite://{}", url.path()),
            None => format!("sqlite://{}", file.display()),
        }
    }

    /// Each secret with its key.
    pub(crate) fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        let eab = self.issuer.eab.as_ref().map(|eab| &eab.key);
        let sign_in = self.control.sign_in.as_ref();
        let secrets = [
            ("control.admin_token", self.control.admin_token.as_ref()),
            ("control.sign_in.client_secret", sign_in.and_then(|it| it.client_secret.as_ref())),
            ("issuer.kek", self.issuer.kek.as_ref()),
            ("issuer.eab.key", eab),
        ];
        secrets.into_iter().filter_map(|(key, secret)| Some((key, secret?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;

    use super::*;

    const REGION: &str = "[[region]]\nid = \"eu-1\"\nhost = \"eu-1.sts.example.net\"\n";

    fn load(text: &str) -> Result<Config, Vec<String>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::load(Some(file.path()))
    }

    #[test]
    fn without_a_region_there_is_no_edge_and_with_one_it_serves_that() {
        assert!(load("").unwrap().edge().is_none());
        assert_eq!(load(REGION).unwrap().edge().unwrap().region, "eu-1");
        let two = format!("{REGION}{}", REGION.replace("eu-1", "eu-2"));
        assert!(load(&two).unwrap().edge().is_none());
        let chosen = load(&format!("{two}[edge]\nregion = \"eu-2\"")).unwrap();
        assert_eq!(chosen.edge().unwrap().region, "eu-2");
    }

    #[test]
    fn a_store_is_a_url_whatever_the_folder_is_called() {
        let config = Config { data_dir: "/my data".into(), ..Config::default() };
        assert_eq!(config.store("dns", None), "sqlite:///my%20data/dns.db");
        let url = "postgres://u@h/d".to_owned();
        assert_eq!(config.store("dns", Some(&url)), url);
    }

    #[test]
    fn the_annotated_file_loads_and_names_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dmarcer.toml");
        Config::load(Some(&path)).unwrap();
        // With everything that is commented out switched on, too.
        let text = std::fs::read_to_string(path).unwrap();
        let all: Vec<&str> =
            text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
        let all: toml::Table = toml::from_str(&all.join("\n")).unwrap();
        for (table, keys) in KEYS {
            let table_there = match *table {
                "" => Some(&all),
                "region" => all["region"].as_array().unwrap()[0].as_table(),
                "issuer.eab" => all["issuer"]["eab"].as_table(),
                "control.sign_in" => all["control"]["sign_in"].as_table(),
                "control.sign_in.grant" => {
                    all["control"]["sign_in"]["grant"].as_array().unwrap()[0].as_table()
                }
                name => all.get(name).and_then(toml::Value::as_table),
            };
            let there: BTreeSet<&str> = table_there
                .unwrap_or_else(|| panic!("[{table}] is missing"))
                .keys()
                .map(String::as_str)
                .collect();
            for key in *keys {
                assert!(there.contains(key), "{table}.{key} is not in deploy/dmarcer.toml");
            }
        }
    }

    #[test]
    fn the_keys_that_the_test_above_looks_for_are_all_there_are() {
        for (table, keys) in KEYS {
            let probe = match *table {
                "" => "no_such_key = 1".to_owned(),
                list @ ("region" | "control.sign_in.grant") => {
                    format!("[[{list}]]\nno_such_key = 1")
                }
                table => format!("[{table}]\nno_such_key = 1"),
            };
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(probe.as_bytes()).unwrap();
            let known = known_keys(&std::fs::read_to_string(file.path()).unwrap());
            let mut expected: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
            expected.sort();
            assert_eq!(known, expected, "[{table}]");
        }
    }

    /// What serde says it would have known.
    fn known_keys(text: &str) -> Vec<String> {
        let error = toml::from_str::<Config>(text).unwrap_err().to_string();
        let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
        let mut keys: Vec<String> =
            expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    const KEYS: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "data_dir", "log", "bus", "limits", "control", "dns", "issuer", "edge", "intake",
                "region",
            ],
        ),
        ("log", &["format", "level"]),
        ("bus", &["url"]),
        (
            "limits",
            &["token_per_second", "token_at_once", "workspace_per_second", "workspace_at_once"],
        ),
        ("control", &["listen", "store", "admin_token", "sign_in"]),
        (
            "control.sign_in",
            &[
                "issuer",
                "name",
                "client_id",
                "client_secret",
                "scopes",
                "roles_claim",
                "redirects",
                "ca_file",
                "grant",
            ],
        ),
        ("control.sign_in.grant", &["value", "role", "workspace", "domains"]),
        (
            "dns",
            &[
                "listen",
                "store",
                "resolvers",
                "authoritative_port",
                "first_seconds",
                "waiting_seconds",
                "waiting_for_seconds",
                "settled_seconds",
                "domains_at_once",
                "questions_per_second",
            ],
        ),
        (
            "issuer",
            &[
                "listen",
                "store",
                "kind",
                "directory",
                "ca_file",
                "contact",
                "eab",
                "kek",
                "orders_at_once",
                "local_validity_seconds",
            ],
        ),
        ("issuer.eab", &["kid", "key"]),
        ("edge", &["id", "region", "https", "http", "max_connections"]),
        ("intake", &["listen", "store"]),
        ("region", &["id", "name", "host", "reports"]),
    ];
}
