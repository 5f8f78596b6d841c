//! Fetching over HTTPS with a client that is not ours.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use crate::process::{program, run};
use crate::{Failure, Outcome};

/// The body behind `url`, whose certificate must be from the authority in `ca_file`.
///
/// # Errors
///
/// When the server is not reached or not trusted, or answers with a status of 400 or more.
pub fn fetch(url: &str, ca_file: &Path) -> Outcome<String> {
    run(curl(ca_file)?.arg(url))
}

/// As [`fetch`], from a server at `address`, whatever DNS says or does not say.
///
/// # Errors
///
/// As [`fetch`]; and when the URL is not `https`.
pub fn fetch_at(url: &str, address: IpAddr, ca_file: &Path) -> Outcome<String> {
    let host = url.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    let host = host.ok_or_else(|| Failure::new(format!("{url} is not https")))?;
    run(curl(ca_file)?.arg("--resolve").arg(format!("{host}:443:{address}")).arg(url))
}

fn curl(ca_file: &Path) -> Outcome<Command> {
    let mut curl = program("curl")?;
    // `--disable`, which must come first: no settings of the user's.
    curl.args(["--disable", "--silent", "--show-error", "--fail", "--max-time", "5", "--cacert"]);
    curl.arg(ca_file);
    Ok(curl)
}
