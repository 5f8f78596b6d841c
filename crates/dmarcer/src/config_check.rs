//! `dmarcer config check`: what is wrong with a configuration; changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::cli::Format;
use crate::cli::failure::Failure;
use crate::cli::output::write_all;
use crate::cli::table::Fields;
use crate::config::Config;

/// Shorter tokens can be tried out.
const SHORT_TOKEN_BYTES: usize = 8;
/// As many resolvers are asked; dns leaves out the rest.
const ASKED_RESOLVERS: usize = 4;

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

pub(crate) fn run(command: &ConfigCommand, format: Format) -> Result<(), Failure> {
    let ConfigCommand::Check { config: file } = command;
    let found = look(file);
    match format {
        Format::Json => {
            let text = format!("{:#}\n", found.json());
            write_all(&mut io::stdout().lock(), text.as_bytes())?;
        }
        Format::Table => {
            let warnings = found.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            write_all(&mut io::stderr().lock(), warnings.collect::<String>().as_bytes())?;
        }
    }
    if !found.problems.is_empty() {
        return Err(wrong(found.problems));
    }
    match format {
        Format::Json => Ok(()),
        Format::Table => {
            let text = format!("ok\n{}", found.values.render());
            write_all(&mut io::stdout().lock(), text.as_bytes())
        }
    }
}

/// What a configuration looks like.
#[derive(Default)]
struct Found {
    /// It can't be used with these.
    problems: Vec<String>,
    /// It can, but is perhaps not meant so.
    warnings: Vec<String>,
    /// What it comes to; nothing where it can't be read.
    values: Fields,
}

impl Found {
    fn json(&self) -> serde_json::Value {
        let values: serde_json::Map<_, _> =
            self.values.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        json!({ "problems": self.problems, "warnings": self.warnings, "values": values })
    }
}

fn look(file: &Path) -> Found {
    let config = match Config::read(Some(file)) {
        Ok(config) => config,
        Err(problems) => return Found { problems, ..Found::default() },
    };
    let problems = [config.problems(), config.problems_here()].concat();
    Found { problems, warnings: warnings(file, &config), values: summary(&config) }
}

/// A configuration that can't be used, one line for each problem.
pub(crate) fn wrong(problems: Vec<String>) -> Failure {
    Failure::several("CONFIG_INVALID", problems)
}

fn summary(config: &Config) -> Fields {
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
    fields
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
    for (key, listen) in [
        ("dns.listen", config.dns.listen),
        ("issuer.listen", config.issuer.listen),
        ("intake.listen", config.intake.listen),
    ] {
        if listen.is_some() {
            warnings.push(format!("{key}: in one process control.listen answers for all"));
        }
    }
    let listen = config.control.listen;
    if !listen.ip().to_canonical().is_loopback() {
        warnings.push(format!(
            "control.listen: {listen} can be reached from elsewhere, and there is no TLS yet: tokens \
             and answers can be read on the way"
        ));
    }
    let token = config.control.admin_token.as_ref().map(|token| token.expose().len());
    if token.is_some_and(|bytes| bytes < SHORT_TOKEN_BYTES) {
        warnings.push(format!(
            "control.admin_token: fewer than {SHORT_TOKEN_BYTES} letters can be guessed: \
             openssl rand -hex 32"
        ));
    }
    if config.dns.resolvers.len() > ASKED_RESOLVERS {
        warnings.push(format!("dns.resolvers: only the first {ASKED_RESOLVERS} are asked"));
    }
    warnings
}

fn open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn found(text: &str) -> Found {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        look(file.path())
    }

    #[test]
    fn what_is_perhaps_not_meant_is_a_warning_and_no_problem() {
        fn check(text: &str, said: &str) {
            let found = found(text);
            assert!(found.problems.is_empty(), "{:?}", found.problems);
            assert!(found.warnings.join("\n").contains(said), "{text}: {:?}", found.warnings);
        }
        check("[control]\nadmin_token = \"1234567\"", "control.admin_token: fewer than 8");
        check("[control]\nlisten = \"0.0.0.0:7443\"", "there is no TLS yet");
        check("[control]\nlisten = \"[2001:db8::1]:7443\"", "control.listen");
        check("[intake]\nlisten = \"127.0.0.1:7446\"", "intake.listen");
        let five = (1..=5).map(|n| format!("\"192.0.2.{n}\"")).collect::<Vec<_>>().join(", ");
        check(&format!("[dns]\nresolvers = [{five}]"), "only the first 4 are asked");
        let quiet = found("[control]\nlisten = \"[::1]:7443\"\nadmin_token = \"12345678\"");
        assert!(quiet.warnings.is_empty(), "{:?}", quiet.warnings);
    }

    #[test]
    fn json_has_the_lists_whether_all_is_well_or_not() {
        let well = found("data_dir = \"/x\"").json();
        assert_eq!(well["problems"], json!([]));
        assert_eq!(well["warnings"], json!([]));
        assert_eq!(well["values"]["data_dir"], "/x");
        let ill = found("[issuer]\nca_file = \"/nowhere\"\n[dns]\nsettled_seconds = 0").json();
        assert_eq!(ill["problems"].as_array().unwrap().len(), 2, "{ill}");
        assert_eq!(found("x =").json()["problems"].as_array().unwrap().len(), 1);
    }
}
