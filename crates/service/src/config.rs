//! Configuration: a TOML file, overridden key by key by the environment.
//!
//! `DMARCER__CONTROL__LISTEN=…` overrides `listen` of `[control]`. A key that does not exist or a
//! value that does not fit is an error that names it, where it was set, and the nearest right one.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A configuration file is never this long.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const DNS_PORT: u16 = 53;
/// No secret is longer.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// For example ``control.lisen in dmarcer.toml: there is no such key, did you mean `listen`?``.
    pub problems: Vec<String>,
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`] lists what is wrong, by key.
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    let mut figment = Figment::new();
    if let Some(file) = file {
        figment = figment.merge(Toml::string(&read(file)?));
    }
    let named = file.map(|file| file.display().to_string());
    // An empty variable is a variable that is not set: it overrides nothing.
    let set = Env::prefixed("DMARCER__").split("__");
    let set = set.filter(|key| !empty_in_environment(key.as_str()));
    figment.merge(set).extract().map_err(|e| ConfigError {
        problems: e.into_iter().map(|e| problem(&e, named.as_deref())).collect(),
    })
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let fail = |why: &str| ConfigError {
        problems: vec![format!("the configuration file {} {why}", file.display())],
    };
    let text = File::open(file).and_then(|opened| read_at_most(MAX_FILE_BYTES, opened));
    let text = text.map_err(|e| fail(&format!("can't be read: {e}")))?;
    // Editors on Windows put a byte order mark in front.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// What a file holds, be it one without an end.
fn read_at_most(bytes: u64, file: File) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    file.take(bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes {
        return Err(io::Error::other(format!("it is longer than {bytes} bytes")));
    }
    Ok(text)
}

fn empty_in_environment(key: &str) -> bool {
    let name = format!("DMARCER__{}", key.replace('.', "__").to_uppercase());
    std::env::var(name).is_ok_and(|value| value.is_empty())
}

fn problem(error: &figment::Error, file: Option<&str>) -> String {
    let from_environment =
        error.metadata.as_ref().is_some_and(|m| m.name.contains("environment variable"));
    let source = match (from_environment, file) {
        (true, _) => "the environment".to_owned(),
        (false, Some(file)) => file.to_owned(),
        (false, None) => "the configuration".to_owned(),
    };
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(name, known) => {
            // figment's path ends at the table, or at the key itself, depending on the source.
            let table = error.path.iter().filter(|part| *part != name).cloned();
            let key = table.chain([name.clone()]).collect::<Vec<_>>().join(".");
            let nearest = known.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name))
            });
            match nearest {
                Some(nearest) => {
                    format!("{key} in {source}: there is no such key, did you mean `{nearest}`?")
                }
                None => format!("{key} in {source}: there is no such key"),
            }
        }
        Kind::MissingField(name) => {
            let place = if path.is_empty() { String::new() } else { format!("[{path}] ") };
            format!("{place}{name}: this key has to be set in {source}")
        }
        kind if path.is_empty() => format!("{source}: {}", without_source(&kind.to_string())),
        kind => format!("{path} in {source}: {}", without_source(&kind.to_string())),
    }
}

/// A syntax error's text shows the line that it is in, which may be one with a secret: where it is
/// and what is wrong are its first and its last line.
fn without_source(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(wrong)) => format!("{place}: {wrong}"),
        (Some(only), None) => only.to_owned(),
        (None, _) => String::new(),
    }
}

/// A secret, written as itself or as `{ file = "…" }`. Never printed.
#[derive(Clone)]
pub struct Secret {
    value: Zeroizing<String>,
    from: Option<PathBuf>,
}

impl Secret {
    /// A secret that was made here.
    pub fn new(value: String) -> Secret {
        Secret { value: Zeroizing::new(value), from: None }
    }

    /// The secret itself. Mind where it goes.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The file that it was read from, if it was.
    pub fn file(&self) -> Option<&Path> {
        self.from.as_deref()
    }

    /// Where it came from and how long it is, for `config check`.
    pub fn describe(&self) -> String {
        let length = self.value.len();
        match &self.from {
            Some(file) => format!("{length} bytes from {}", file.display()),
            None => format!("{length} bytes, written in place"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a string, or a table such as { file = \"/run/secret\" }")]
        enum Written {
            Value(String),
            File(InFile),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InFile {
            file: PathBuf,
        }
        let (value, from) = match Written::deserialize(deserializer)? {
            Written::Value(value) => (value, None),
            Written::File(InFile { file }) => {
                let text = read_secret(&file).map_err(|e| {
                    D::Error::custom(format!(
                        "the secret file {} can't be read: {e}",
                        file.display()
                    ))
                })?;
                (text.trim_end_matches(['\r', '\n']).to_owned(), Some(file))
            }
        };
        if value.is_empty() || value.len() as u64 > MAX_SECRET_BYTES {
            return Err(D::Error::custom("a secret has 1 to 65536 bytes"));
        }
        Ok(Secret { value: Zeroizing::new(value), from })
    }
}

fn read_secret(file: &Path) -> io::Result<Zeroizing<String>> {
    // Before it is opened: a pipe would wait for its writer, and is empty at the second start.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other(
            "it is a folder, a pipe or a device: put the secret into a regular file",
        ));
    }
    read_at_most(MAX_SECRET_BYTES, File::open(file)?)
}

/// A list, or one value alone, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// When it is neither.
pub fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written<T> {
        Many(Vec<T>),
        One(T),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Many(values) => values,
        Written::One(value) => vec![value],
    })
}

/// Addresses of DNS servers, port 53 where none is written, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// When one is no IP address.
pub fn dns_servers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    let written: Vec<String> = one_or_many(deserializer)?;
    let addresses = written.iter().map(|text| {
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        alone.or_else(|_| text.parse()).map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is no IP address, such as 192.0.2.53 or 192.0.2.53:53"
            ))
        })
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        control: Control,
        #[serde(default, deserialize_with = "dns_servers")]
        resolvers: Vec<SocketAddr>,
        #[serde(default, deserialize_with = "one_or_many")]
        contact: Vec<String>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Control {
        listen: Option<std::net::SocketAddr>,
        admin_token: Option<Secret>,
    }

    fn load_text(text: &str) -> Result<Sample, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()))
    }

    #[test]
    fn a_wrong_key_is_named_with_the_nearest_right_one() {
        let error = load_text("[control]\nlisen = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(error.contains("control.lisen"), "{error}");
        assert!(error.contains("did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_by_its_key() {
        for text in ["[control]\nlisten = \"127.0.0.1:99999\"\n", "[control]\nlisten = 5\n"] {
            let error = load_text(text).unwrap_err().to_string();
            assert!(error.contains("control.listen"), "{error}");
        }
    }

    #[test]
    fn one_value_is_a_list_of_one_and_dns_has_a_port() {
        let text =
            "contact = \"a@example.com\"\nresolvers = [\"192.0.2.1\", \"[2001:db8::1]:5353\"]\n";
        let sample = load_text(text).unwrap();
        assert_eq!(sample.contact, ["a@example.com"]);
        let resolvers: Vec<String> = sample.resolvers.iter().map(ToString::to_string).collect();
        assert_eq!(resolvers, ["192.0.2.1:53", "[2001:db8::1]:5353"]);
        let error = load_text("resolvers = \"localhost\"\n").unwrap_err().to_string();
        assert!(error.contains("resolvers") && error.contains("192.0.2.53"), "{error}");
    }

    #[test]
    fn files_that_are_no_configuration_are_refused_and_empty_ones_taken() {
        assert!(load_text("").is_ok());
        assert!(load_text("\u{feff}[control]\r\n").is_ok());
        assert!(load_text("[control]\n[control]\n").is_err());
        assert!(load_text("control = 3\n").is_err());
        assert!(load_text("\0").is_err());
    }

    #[test]
    fn a_line_with_a_secret_is_not_shown() {
        let error = load_text("[control]\nadmin_token = \"hunter2\" x\n").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_missing_secret_file_is_named_and_a_secret_never_printed() {
        let error = load_text("[control]\nadmin_token = { file = \"/nowhere/token\" }\n");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("/nowhere/token") && error.contains("admin_token"), "{error}");

        let sample = load_text("[control]\nadmin_token = \"hunter2\"\n").unwrap();
        assert!(!format!("{sample:?}").contains("hunter2"));
        assert_eq!(sample.control.admin_token.unwrap().expose(), "hunter2");
    }

    #[test]
    fn what_has_no_end_or_no_bytes_is_read_neither_as_a_secret_nor_as_a_configuration() {
        for file in ["/dev/zero", "/dev", "/proc/self/fd"] {
            let error = load_text(&format!("[control]\nadmin_token = {{ file = \"{file}\" }}\n"));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("put the secret into a regular file"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        fs::write(&long, "x".repeat(70_000)).unwrap();
        let text = format!("[control]\nadmin_token = {{ file = {long:?} }}\n");
        let error = load_text(&text).unwrap_err().to_string();
        assert!(error.contains("longer than 65536 bytes"), "{error}");
        let error = load::<Sample>(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "figment's test jail asks for its own error")]
    fn the_environment_overrides_the_file_and_an_empty_variable_does_not() {
        figment::Jail::expect_with(|jail| {
            jail.create_file("dmarcer.toml", "[control]\nlisten = \"127.0.0.1:1\"\n")?;
            let path = jail.directory().join("dmarcer.toml");
            jail.set_env("DMARCER__CONTROL__LISTEN", "");
            let sample: Sample = load(Some(&path)).unwrap();
            assert_eq!(sample.control.listen.unwrap().port(), 1);
            jail.set_env("DMARCER__CONTROL__LISTEN", "127.0.0.1:2");
            let sample: Sample = load(Some(&path)).unwrap();
            assert_eq!(sample.control.listen.unwrap().port(), 2);
            Ok(())
        });
    }
}
