//! Fetching over HTTPS with a client that is not ours.

use std::path::Path;

use crate::Outcome;
use crate::process::{program, run};

/// The body behind `url`, whose certificate must be from the authority in `ca_file`.
///
/// # Errors
///
/// When the server is not reached or not trusted, or answers with a status of 400 or more.
pub fn fetch(url: &str, ca_file: &Path) -> Outcome<String> {
    let mut curl = program("curl")?;
    // `--disable`, which must come first: no settings of the user's.
    curl.args([
        "--disable",
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "5",
        "--cacert",
    ]);
    run(curl.arg(ca_file).arg(url))
}
