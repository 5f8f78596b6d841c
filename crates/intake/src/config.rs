//! `[intake]` of the configuration.

use serde::Deserialize;

/// `[intake]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `sqlite://<file>` or `postgres://…`; `<data_dir>/intake.db` where it is not set.
    pub store: Option<String>,
}
