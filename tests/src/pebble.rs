//! Pebble: a certificate authority that speaks ACME and validates for real.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::process::{Daemon, program};
use crate::{Outcome, World, curl};

/// Where accounts and orders are made.
const API: SocketAddr = SocketAddr::new(World::RESOLVER, 14000);

/// Where the authority tells tests what it has made.
const MANAGEMENT: SocketAddr = SocketAddr::new(World::RESOLVER, 15000);

/// Seconds a certificate is valid: 90 days, as at public authorities.
const VALID_SECONDS: u32 = 90 * 24 * 60 * 60;

/// A running authority. It resolves names by [`World::RESOLVER`] and asks for challenges on port 80.
///
/// It rejects one nonce in twenty, as clients must expect
/// ([RFC 8555 section 6.5](https://www.rfc-editor.org/rfc/rfc8555#section-6.5)). It forgets accounts
/// and has a new root each time it starts.
pub struct Pebble {
    ca_file: PathBuf,
    issuer_file: PathBuf,
    daemon: Daemon,
}

impl Pebble {
    /// Starts an authority whose certificates live for 90 days.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(world: &World) -> Outcome<Self> {
        Self::start_with_validity(world, VALID_SECONDS)
    }

    /// Starts an authority whose certificates live for so many seconds.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_with_validity(world: &World, seconds: u32) -> Outcome<Self> {
        let directory = world.directory("pebble")?;
        let ca_file = make_identity(&directory)?;
        let config = directory.join("pebble.json");
        fs::write(&config, configuration(&directory, seconds))?;
        let mut pebble = program("pebble")?;
        pebble
            .args(["-strict", "-dnsserver", &SocketAddr::new(World::RESOLVER, 53).to_string()])
            .arg("-config")
            .arg(config)
            // Validate at once, rather than after up to 15 seconds.
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Every order is validated anew; by default, half of them are not.
            .env("PEBBLE_AUTHZREUSE", "0");
        let daemon = Daemon::start("pebble", &directory, &mut pebble, || {
            curl::fetch(&directory_url(), &ca_file).map(drop)
        })?;
        let issuer_file = directory.join("issuer.pem");
        fs::write(&issuer_file, curl::fetch(&format!("https://{MANAGEMENT}/roots/0"), &ca_file)?)?;
        Ok(Self { ca_file, issuer_file, daemon })
    }

    /// The URL of the ACME directory.
    pub fn directory(&self) -> String {
        directory_url()
    }

    /// What a client of the API must trust.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// What a client of a server with an issued certificate must trust: the root, as PEM.
    pub fn issuer_file(&self) -> &Path {
        &self.issuer_file
    }

    /// What the authority has printed: each validation and its result, among others.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Outcome<String> {
        self.daemon.log()
    }
}

fn directory_url() -> String {
    format!("https://{API}/dir")
}

/// Makes the certificate of the API, `certificate.pem` with `key.pem`, and gives what to trust for
/// it: that certificate itself.
fn make_identity(directory: &Path) -> Outcome<PathBuf> {
    let names = vec![API.ip().to_string(), "localhost".to_owned()];
    let identity = rcgen::generate_simple_self_signed(names)?;
    let certificate = directory.join("certificate.pem");
    fs::write(&certificate, identity.cert.pem())?;
    fs::write(directory.join("key.pem"), identity.signing_key.serialize_pem())?;
    Ok(certificate)
}

fn configuration(directory: &Path, valid_seconds: u32) -> String {
    let directory = directory.display();
    format!(
        r#"{{"pebble": {{
    "listenAddress": "{API}",
    "managementListenAddress": "{MANAGEMENT}",
    "certificate": "{directory}/certificate.pem",
    "privateKey": "{directory}/key.pem",
    "httpPort": 80,
    "tlsPort": 443,
    "ocspResponderURL": "",
    "externalAccountBindingRequired": false,
    "certificateValidityPeriod": {valid_seconds}
}}}}"#
    )
}
