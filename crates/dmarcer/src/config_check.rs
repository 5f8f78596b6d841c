//! `dmarcer config check`: what is wrong with a configuration; changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::cli::failure::Failure;
use crate::cli::output::write_all;
use crate::cli::table::Fields;
use crate::config::Config;

/// Check a configuration file.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with a configuration, by key; changes nothing
    #[command(after_help = "Example: dmarcer config check --config /etc/dmarcer/dmarcer.toml")]
    Check {
        /// The file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

pub(crate) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    let ConfigCommand::Check { config: file } = command;
    let config = Config::load(Some(file)).map_err(wrong)?;
    let warnings: Vec<String> = warnings(file, &config);
    let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    let text = format!("ok\n{}", summary(&config));
    write_all(&mut io::stderr().lock(), warnings.as_bytes())?;
    write_all(&mut io::stdout().lock(), text.as_bytes())
}

/// A configuration that can't be used, one line for each problem.
pub(crate) fn wrong(problems: Vec<String>) -> Failure {
    Failure::several("CONFIG_INVALID", problems)
}

fn summary(config: &Config) -> String {
    let regions: Vec<&str> = config.region.iter().map(|region| region.id.as_str()).collect();
    let mut fields = Fields::default()
        .with("data_dir", config.data_dir.display().to_string())
        .with("bus", &config.bus.url)
        .with("control.listen", config.control.listen.to_string())
        .with("regions", regions.join(", "));
    fields = match config.edge() {
        None => fields.with("edge", "none: no region to serve"),
        Some(edge) => {
            let addresses = |addresses: &[std::net::SocketAddr]| {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            fields
                .with("edge.region", &edge.region)
                .with("edge.https", addresses(&edge.https))
                .with("edge.http", addresses(&edge.http))
        }
    };
    for (key, secret) in config.secrets() {
        fields = fields.with(key, secret.describe());
    }
    if config.control.admin_token.is_none() {
        let path = config.data_dir.join("admin-token");
        fields = fields.with("control.admin_token", format!("made at start in {}", path.display()));
    }
    fields.render()
}

fn warnings(file: &Path, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut written_in_place = Vec::new();
    for (key, secret) in config.secrets() {
        match secret.file() {
            Some(path) if open_to_others(path) => {
                let path = path.display();
                warnings.push(format!("{key}: {path} can be read by others: chmod 600 it"));
            }
            Some(_) => {}
            None => written_in_place.push(key),
        }
    }
    if !written_in_place.is_empty() && open_to_others(file) {
        warnings.push(format!(
            "{} holds {} and can be read by others: chmod 600 it",
            file.display(),
            written_in_place.join(", "),
        ));
    }
    if config.issuer.listen.is_some() {
        warnings.push("issuer.listen: in one process control.listen answers for all".to_owned());
    }
    warnings
}

fn open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}
