//! How a process reaches NATS, and as whom.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerAddr};
use zeroize::Zeroizing;

/// How often the connection is tried when nothing comes: after three unanswered ones it is given up
/// and made anew, so a hung server is left within 15 s.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How long connecting to one address may take, TLS and login included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The longest pause between two attempts to connect. A fleet that comes back at once costs a server
/// little; one that waits long delays every change.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Messages that may wait in the client for one reader. Readers ask for fewer than that at a time,
/// so it is never reached; the client would drop what is beyond.
const QUEUE: usize = 1024;

/// How to reach NATS.
#[derive(Debug, Clone)]
pub struct Options {
    /// `nats://host:port` or `tls://host:port`, any of which may answer. No credentials in here.
    pub urls: Vec<String>,
    /// Who this is: letters, digits, `-` and `_`. Shown in the server's lists, and the last part of
    /// the subjects that this process publishes to streams on, so that it can be held to them.
    pub name: String,
    /// What it shows to be let in.
    pub credentials: Credentials,
    /// PEM file with the only authorities that are trusted, read at each connection; without it
    /// those of the system. Demands TLS.
    pub ca_file: Option<PathBuf>,
    /// The JetStream domain to read from; none: that of the server connected to.
    pub domain: Option<String>,
    /// The JetStream domain to write to, where the server connected to is a leaf with mirrors of
    /// the buckets; none: the same as `domain`.
    pub home_domain: Option<String>,
    /// What the subjects begin with on which this process gets answers; none: `_INBOX_<name>`.
    /// Permissions to subscribe name it, so that nobody reads answers to others.
    pub inbox_prefix: Option<String>,
    /// Buckets all of whose documents this process writes, by name or as `policies-*`. It marks
    /// their lives, and notices when values are lost: see [`Bus::generation`](crate::Bus::generation).
    pub keeps: Vec<String>,
}

impl Options {
    /// Options for one server, without credentials.
    pub fn new(url: &str, name: &str) -> Options {
        Options {
            urls: vec![url.to_owned()],
            name: name.to_owned(),
            credentials: Credentials::None,
            ca_file: None,
            domain: None,
            home_domain: None,
            inbox_prefix: None,
            keeps: Vec::new(),
        }
    }

    /// What the subjects begin with on which answers come.
    pub fn inbox(&self) -> String {
        self.inbox_prefix.clone().unwrap_or_else(|| format!("_INBOX_{}", self.name))
    }

    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, OptionsError> {
        if self.urls.is_empty() {
            return Err(OptionsError::NoUrl);
        }
        let parse = |url: &String| {
            // A URL with a password would be shown by everything that shows URLs.
            if url.contains('@') {
                return Err(OptionsError::CredentialsInUrl);
            }
            url.parse().map_err(|_| OptionsError::Url { url: url.clone() })
        };
        self.urls.iter().map(parse).collect()
    }

    /// What the client is told; `on_event` hears what happens to the connection.
    pub(super) fn for_client(
        &self,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<ConnectOptions, OptionsError> {
        check_name("name", &self.name)?;
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .custom_inbox_prefix(self.inbox())
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_WITHIN)
            .ping_interval(PING_EVERY)
            .subscription_capacity(QUEUE)
            .reconnect_delay_callback(pause)
            .event_callback(move |event| {
                on_event(event);
                std::future::ready(())
            });
        if let Some(file) = &self.ca_file {
            check_readable(file)?;
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        Ok(match &self.credentials {
            Credentials::None => options,
            Credentials::Password { user, password } => {
                options.user_and_password(user.clone(), password.text().to_owned())
            }
            Credentials::Nkey { seed } => {
                check_seed(seed)?;
                options.nkey(seed.text().trim().to_owned())
            }
            Credentials::Certificate { certificate_file, key_file } => {
                check_readable(certificate_file)?;
                check_readable(key_file)?;
                let (certificate, key) = (certificate_file.clone(), key_file.clone());
                options.add_client_certificate(certificate, key).require_tls(true)
            }
        })
    }
}

/// What a client shows to be let in.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nothing: for servers that nobody else reaches.
    #[default]
    None,
    /// A user's name and password. Use TLS with it: it is sent as it is.
    Password {
        /// The user.
        user: String,
        /// Their password.
        password: Secret,
    },
    /// The seed of an nkey, which begins with `SU`. It signs what the server asks and isn't sent.
    Nkey {
        /// The seed.
        seed: Secret,
    },
    /// A client certificate, both files read at each connection. Demands TLS.
    Certificate {
        /// The chain, as PEM.
        certificate_file: PathBuf,
        /// Its private key, as PEM.
        key_file: PathBuf,
    },
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why options can't be used. They hold however long one waits, unlike a server that is away.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// There is nothing to connect to.
    #[error("no URL of a NATS server is given")]
    NoUrl,
    /// A URL is none.
    #[error("{url:?} is no URL of a NATS server: write nats://host:port or tls://host:port")]
    Url {
        /// As given.
        url: String,
    },
    /// A URL has a password in it.
    #[error("a URL of a NATS server has credentials in it: give them by their own keys")]
    CredentialsInUrl,
    /// A name can't stand in a subject.
    #[error("{what} {name:?} must be letters, digits, '-' and '_'")]
    Name {
        /// Which name.
        what: &'static str,
        /// As given.
        name: String,
    },
    /// The seed of an nkey is none of a user.
    #[error("the nkey's seed is none: a user's has 58 letters and digits and begins with SU")]
    Seed,
    /// A file can't be read.
    #[error("{file} can't be read")]
    File {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The client refuses to start.
    #[error("the NATS client can't be started")]
    Client(#[source] async_nats::ConnectError),
}

/// Whether a name is one token of a subject.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn check_name(what: &'static str, name: &str) -> Result<(), OptionsError> {
    if is_token(name) {
        return Ok(());
    }
    Err(OptionsError::Name { what, name: name.to_owned() })
}

fn check_seed(seed: &Secret) -> Result<(), OptionsError> {
    let seed = seed.text().trim();
    let letters = seed.bytes().all(|b| b.is_ascii_alphanumeric());
    if seed.len() == 58 && seed.starts_with("SU") && letters {
        return Ok(());
    }
    Err(OptionsError::Seed)
}

fn check_readable(file: &Path) -> Result<(), OptionsError> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(source) => Err(OptionsError::File { file: file.to_owned(), source }),
    }
}

/// The pause before the n-th attempt to connect: doubling, and never the same for two clients.
fn pause(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let doubled = Duration::from_millis(50).saturating_mul(1 << attempt.min(10));
    doubled.min(LONGEST_PAUSE).mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_in_no_debug_text_and_no_error() {
        let secrets = [
            Credentials::Password { user: "u".into(), password: Secret::new("hunter2") },
            Credentials::Nkey { seed: Secret::new("SUhunter2") },
        ];
        for credentials in secrets {
            let options = Options { credentials, ..Options::new("nats://127.0.0.1", "me") };
            assert!(!format!("{options:?}").contains("hunter2"));
            if let Err(error) = options.for_client(|_| ()) {
                assert!(!format!("{error:?} {error}").contains("hunter2"));
            }
        }
        let options = Options::new("nats://me:hunter2@127.0.0.1", "me");
        let error = options.addresses().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn options_that_can_never_work_are_told_at_once() {
        let good = || Options::new("nats://127.0.0.1:4222", "edge-eu-1-a");
        let check = |options: Options, said: &str| {
            let made = options.addresses().and_then(|_| options.for_client(|_| ()));
            let error = made.map(drop).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        };
        assert!(good().addresses().is_ok() && good().for_client(|_| ()).is_ok());
        check(Options { urls: vec![], ..good() }, "no URL");
        check(Options { urls: vec!["nats://[".into()], ..good() }, "is no URL");
        check(Options { name: "a.b".into(), ..good() }, "\"a.b\" must be letters");
        let seed = Secret::new("SUAIBDPB");
        check(Options { credentials: Credentials::Nkey { seed }, ..good() }, "begins with SU");
        check(Options { ca_file: Some("/nowhere/ca.pem".into()), ..good() }, "/nowhere/ca.pem");
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(0), Duration::ZERO);
        assert!(pause(2) < Duration::from_millis(250));
        for attempt in [10, 100, usize::MAX] {
            assert!(pause(attempt) <= LONGEST_PAUSE, "{attempt}");
        }
    }
}
