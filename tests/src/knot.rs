//! Knot DNS: an authoritative server of zones that tests change.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use crate::process::{Daemon, program, run};
use crate::{Failure, Outcome, World, dig};

/// Seconds that a record set by a test may be kept. The resolver here keeps nothing longer than a
/// second, whatever this says; who reads it is the product.
const TTL_SECONDS: u32 = 60;

/// A zone to serve.
pub struct Zone {
    /// Its name, ending with a dot.
    pub name: &'static str,
    /// Its records, with full names, in the form of a zone file.
    pub text: &'static str,
}

/// The key that may change and read whole zones
/// ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945)).
pub struct Tsig {
    /// Its name.
    pub name: &'static str,
    /// Its algorithm, as the RFC names it.
    pub algorithm: &'static str,
    /// Its secret, in base64.
    pub secret: &'static str,
}

/// The same key for all zones, as an operator's DNS host would hand out one for each.
pub const TSIG: Tsig = Tsig {
    name: "journey.",
    algorithm: "hmac-sha256",
    secret: "c2VjcmV0cyBpbiB0ZXN0cyBhcmUgbm90IHNlY3JldHM=",
};

/// A running server.
pub struct Knot {
    address: IpAddr,
    zones: Vec<&'static str>,
    daemon: Daemon,
}

impl Knot {
    /// Serves `zones` on port 53 of `address`, over UDP and TCP.
    ///
    /// # Errors
    ///
    /// When a zone is broken, or the server does not come up.
    pub fn start(world: &World, address: IpAddr, zones: &[Zone]) -> Outcome<Self> {
        let directory = world.directory("knot")?;
        fs::create_dir(directory.join("db"))?;
        for zone in zones {
            let text = format!("$TTL {TTL_SECONDS}\n{}", zone.text);
            fs::write(directory.join(file_name(zone)), text)?;
        }
        let config = directory.join("knot.conf");
        fs::write(&config, configuration(&directory, address, zones))?;
        let daemon = Daemon::start(
            "knotd",
            &directory,
            program("knotd")?.arg("--config").arg(config),
            || zones.iter().try_for_each(|zone| is_served(address, zone)),
        )?;
        let zones = zones.iter().map(|zone| zone.name).collect();
        Ok(Self { address, zones, daemon })
    }

    /// Where it serves.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Makes `value` the only record of this name and type. It is served when this returns.
    ///
    /// The value is written as in a zone file: a TXT in quotes, a host with its last dot.
    ///
    /// # Errors
    ///
    /// When the name is in none of the zones, or the server refuses.
    pub fn set(&self, name: &str, kind: &str, value: &str) -> Outcome {
        let name = full(name);
        self.update(&name, &format!("del {name} {kind}\nadd {name} {TTL_SECONDS} {kind} {value}\n"))
    }

    /// Adds `value` to the records of this name and type.
    ///
    /// # Errors
    ///
    /// When the name is in none of the zones, or the server refuses.
    pub fn add(&self, name: &str, kind: &str, value: &str) -> Outcome {
        let name = full(name);
        self.update(&name, &format!("add {name} {TTL_SECONDS} {kind} {value}\n"))
    }

    /// Removes all records of this name and type; of every type for `ANY`.
    ///
    /// # Errors
    ///
    /// When the name is in none of the zones, or the server refuses.
    pub fn remove(&self, name: &str, kind: &str) -> Outcome {
        let name = full(name);
        self.update(&name, &format!("del {name} {kind}\n"))
    }

    /// What the server has printed.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Outcome<String> {
        self.daemon.log()
    }

    /// Sends one dynamic update ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136)), signed. It is
    /// applied whole or not at all.
    fn update(&self, name: &str, changes: &str) -> Outcome {
        let zone = self.zone_of(name)?;
        let mut script = tempfile::NamedTempFile::new()?;
        writeln!(script, "server {}\nzone {zone}\n{changes}send", self.address)?;
        let key = format!("{}:{}:{}", TSIG.algorithm, TSIG.name, TSIG.secret);
        run(program("knsupdate")?.arg("-y").arg(key).arg(script.path()))
            .map_err(|failure| failure.during(format!("changing {zone} by {changes:?}")))?;
        Ok(())
    }

    /// The longest of the zones that `name` is in.
    fn zone_of(&self, name: &str) -> Outcome<&'static str> {
        let holds = |zone: &&str| {
            name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let zones = self.zones.iter().copied().filter(holds);
        zones
            .max_by_key(|zone| zone.len())
            .ok_or_else(|| Failure::new(format!("{name} is in none of {:?}", self.zones)))
    }
}

/// A name with its last dot.
fn full(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn file_name(zone: &Zone) -> String {
    format!("{}zone", if zone.name == "." { "root." } else { zone.name })
}

fn is_served(address: IpAddr, zone: &Zone) -> Outcome {
    dig::listens(address)?;
    if dig::ask(address, zone.name, "SOA")?.is_empty() {
        return Err(Failure::new(format!("no SOA for {}", zone.name)));
    }
    Ok(())
}

fn configuration(directory: &Path, address: IpAddr, zones: &[Zone]) -> String {
    let directory = directory.display();
    let Tsig { name, algorithm, secret } = TSIG;
    let mut text = format!(
        r#"
server:
    rundir: "{directory}"
    listen: "{address}@53"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{directory}/db"
    journal-db-max-size: 32M
log:
  - target: stderr
    any: info
control:
    listen: "{directory}/knot.sock"
key:
  - id: {name}
    algorithm: {algorithm}
    secret: {secret}
acl:
  - id: journey
    key: {name}
    action: [update, transfer]
template:
  - id: default
    storage: "{directory}"
    acl: journey
    zonefile-sync: -1
zone:
"#
    );
    for zone in zones {
        let file = file_name(zone);
        let _ = writeln!(text, "  - domain: \"{}\"\n    file: \"{file}\"", zone.name);
    }
    text
}
