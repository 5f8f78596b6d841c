//! postfix-mta-sts-resolver: how Postfix learns policies, unmodified.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Daemon, program, run};
use crate::{Failure, Outcome, World};

/// Where the daemon answers Postfix.
const SOCKETMAP: SocketAddr = SocketAddr::new(World::RESOLVER, 8461);

/// Longer than the daemon's own four seconds for DNS, and again for HTTPS.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes: Postfix takes no longer answers from a socketmap.
const LONGEST_ANSWER: usize = 100_000;

/// The sender's daemon, with a memory for policies that it checks at every question.
pub struct Resolver {
    trust: Trust,
    daemon: Daemon,
}

impl Resolver {
    /// Starts a sender that trusts only the authority in `issuer_file`, as PEM.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(world: &World, issuer_file: &Path) -> Outcome<Self> {
        let directory = world.directory("resolver")?;
        let trust = Trust { file: issuer_file.to_owned(), nowhere: world.directory("nowhere")? };
        let config = directory.join("resolver.yml");
        fs::write(&config, configuration())?;
        let mut command = trust.program("mta-sts-daemon")?;
        command.arg("--config").arg(config);
        let daemon = Daemon::start("mta-sts-daemon", &directory, &mut command, || {
            TcpStream::connect(SOCKETMAP).map(drop)
        })?;
        Ok(Self { trust, daemon })
    }

    /// What Postfix is told about mail to `domain`, for example
    /// `OK secure match=mx.example.test servername=hostname`; `NOTFOUND ` when there is no policy to
    /// enforce.
    ///
    /// A policy in mode `testing` is `NOTFOUND ` too: [`query`](Self::query) tells them apart. The
    /// daemon asks for the TXT record each time and fetches the policy when its id is new.
    ///
    /// # Errors
    ///
    /// When the daemon does not answer.
    pub fn lookup(&self, domain: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(SOCKETMAP)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let request = format!("postfix {domain}");
        write!(stream, "{}:{request},", request.len())?;
        read_netstring(&mut stream)
            .map_err(|failure| failure.during(format!("asking the daemon about {domain}")))
    }

    /// What one run of `mta-sts-query`, which remembers nothing, prints about `domain`: for example
    /// `(<STSFetchResult.NONE: 0>, None)`, or `VALID` with the id and the policy.
    ///
    /// # Errors
    ///
    /// When it ends with a failure of its own; a missing or wrong policy is none.
    pub fn query(&self, domain: &str) -> Outcome<String> {
        Ok(run(self.trust.program("mta-sts-query")?.arg(domain))?.trim().to_owned())
    }

    /// What the daemon has printed: why it refused a policy, among others.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Outcome<String> {
        self.daemon.log()
    }
}

/// The authority that Python is to trust, and no other.
struct Trust {
    file: PathBuf,
    /// An empty directory in the place of the system's authorities.
    nowhere: PathBuf,
}

impl Trust {
    /// Python's `ssl` takes its authorities from where OpenSSL says, which is what these variables
    /// set.
    fn program(&self, name: &str) -> Outcome<Command> {
        let mut command = program(name)?;
        command.env("SSL_CERT_FILE", &self.file).env("SSL_CERT_DIR", &self.nowhere);
        Ok(command)
    }
}

/// Reads one string of the form `5:hello,`, up to the end of the comma and no further.
fn read_netstring(stream: &mut impl Read) -> Outcome<String> {
    let mut byte = [0];
    let mut length = 0;
    loop {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b':' => break,
            digit if digit.is_ascii_digit() && length < LONGEST_ANSWER => {
                length = length * 10 + usize::from(digit - b'0');
            }
            other => {
                return Err(Failure::new(format!("{other:#x} in the length of a netstring")));
            }
        }
    }
    let mut text = vec![0; length + 1];
    stream.read_exact(&mut text)?;
    if text.pop() != Some(b',') {
        return Err(Failure::new("a netstring without a comma at its end"));
    }
    Ok(String::from_utf8(text)?)
}

fn configuration() -> String {
    format!(
        "host: {host}
port: {port}
reuse_port: true
shutdown_timeout: 1
# Seconds for which a policy is used without looking at the TXT record: none.
cache_grace: 0
proactive_policy_fetching:
  enabled: false
cache:
  type: internal
  options:
    cache_size: 1000
default_zone:
  strict_testing: false
  timeout: 4
",
        host = SOCKETMAP.ip(),
        port = SOCKETMAP.port(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Option<&str>) {
        let read = read_netstring(&mut input.as_bytes()).ok();
        assert_eq!(read.as_deref(), expected, "{input:?}");
    }

    #[test]
    fn a_netstring_is_read_to_its_comma() {
        check("9:NOTFOUND ,", Some("NOTFOUND "));
        check("0:,", Some(""));
        check("2:ab,3:", Some("ab"));
        check("2:abc", None);
        check("2:a", None);
        check("x:a,", None);
        check("9999999999:a,", None);
    }
}
