//! Providers that people sign in with: one that is certified to do it right, and one that lies.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use url::Url;

use crate::process::{Daemon, program, run};
use crate::{Failure, Outcome, World};

/// Where `tests/install` puts Node.js and the programs that it runs.
const NODE_TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/test-tools/node");

/// What a provider knows of us.
const CLIENT_ID: &str = "dmarcer-test";
/// What only the provider and the product may know.
pub const CLIENT_SECRET: &str = "a secret of the client, not to be seen";

const HONEST_PORT: u16 = 9443;
const LYING_PORT: u16 = 9080;
const LYING_CONTROL_PORT: u16 = 9081;

/// More pages than any sign-in has.
const MAX_PAGES: usize = 20;

/// A certified provider, over TLS, with pages for people. It enforces PKCE, tells groups at userinfo
/// only, and says in each answer whose it is (RFC 9207).
pub struct HonestProvider {
    ca_file: PathBuf,
    daemon: Daemon,
}

/// A provider that signs everybody in as the same person, and lies on demand.
pub struct LyingProvider {
    daemon: Daemon,
}

/// Somebody's browser, with cookies of its own.
pub struct Browser {
    directory: PathBuf,
}

/// With what a browser came back.
#[derive(Debug, Clone, Default)]
pub struct Returned {
    /// Which sign-in it is.
    pub state: String,
    /// Empty where the provider gave an error.
    pub code: String,
    /// Whose answer it is; empty where that is not said.
    pub issuer: String,
    /// Empty where the provider gave a code.
    pub error: String,
}

impl HonestProvider {
    /// Starts one that knows these people: claims by the name that they type at login.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(world: &World, people: &Value) -> Outcome<Self> {
        let directory = world.directory("honest-provider")?;
        let identity = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let ca_file = directory.join("certificate.pem");
        fs::write(&ca_file, identity.cert.pem())?;
        fs::write(directory.join("key.pem"), identity.signing_key.serialize_pem())?;
        let settings = json!({
            "issuer": Self::issuer(),
            "port": HONEST_PORT,
            "key": directory.join("key.pem"),
            "certificate": &ca_file,
            "client": { "id": CLIENT_ID, "secret": CLIENT_SECRET },
            "people": people,
        });
        let script = include_str!("../providers/honest.mjs");
        let mut node = node(&directory, script, &settings)?;
        let daemon = Daemon::start("honest-provider", &directory, &mut node, || {
            TcpStream::connect(SocketAddr::new(World::RESOLVER, HONEST_PORT)).map(drop)
        })?;
        Ok(Self { ca_file, daemon })
    }

    /// The issuer identifier.
    #[must_use]
    pub fn issuer() -> String {
        format!("https://localhost:{HONEST_PORT}")
    }

    /// The table that has the product sign people in with it, up to the grants.
    #[must_use]
    pub fn config(&self) -> String {
        format!(
            r#"[control.sign_in]
issuer = "{issuer}"
name = "Example Login"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
scopes = ["email", "profile", "groups"]
ca_file = "{ca_file}"
"#,
            issuer = Self::issuer(),
            ca_file = self.ca_file.display(),
        )
    }

    /// What it has printed.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Outcome<String> {
        self.daemon.log()
    }
}

impl LyingProvider {
    /// Starts one that says this of everybody.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(world: &World, claims: &Value) -> Outcome<Self> {
        let directory = world.directory("lying-provider")?;
        let settings = json!({
            "port": LYING_PORT,
            "control": LYING_CONTROL_PORT,
            "client": { "id": CLIENT_ID, "secret": CLIENT_SECRET },
            "claims": claims,
        });
        let mut node = node(&directory, include_str!("../providers/lying.mjs"), &settings)?;
        let daemon = Daemon::start("lying-provider", &directory, &mut node, || {
            TcpStream::connect(SocketAddr::new(World::RESOLVER, LYING_CONTROL_PORT)).map(drop)
        })?;
        Ok(Self { daemon })
    }

    /// The table that has the product sign people in with it, up to the grants.
    #[must_use]
    pub fn config() -> String {
        format!(
            r#"[control.sign_in]
issuer = "http://localhost:{LYING_PORT}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
"#
        )
    }

    /// Lies in this way from now on; "none" for the truth.
    ///
    /// # Errors
    ///
    /// When it knows no such lie.
    pub fn lie(&self, lie: &str) -> Outcome {
        let lie = lie.replace(' ', "%20").replace(',', "%2C");
        let url = format!("http://127.0.0.1:{LYING_CONTROL_PORT}/lie/{lie}");
        let mut curl = program("curl")?;
        run(curl.args(["--disable", "--silent", "--show-error", "--fail"]).arg(url))?;
        Ok(())
    }

    /// What it has printed.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Outcome<String> {
        self.daemon.log()
    }
}

impl Browser {
    /// A browser that was never used.
    ///
    /// # Errors
    ///
    /// When there is no room for its cookies.
    pub fn new(world: &World) -> Outcome<Self> {
        Ok(Self { directory: world.directory("browser")? })
    }

    /// Signs in as `who` on the pages that begin at `url`, and consents, until the provider sends the
    /// browser back to `redirect_uri`.
    ///
    /// # Errors
    ///
    /// When the pages lead somewhere else.
    pub fn sign_in(&self, url: &str, redirect_uri: &str, who: &str) -> Outcome<Returned> {
        self.follow(url, redirect_uri, |page| {
            let action = attribute(page, "action=\"").ok_or_else(|| no_form(page))?;
            let prompt = attribute(page, "name=\"prompt\" value=\"").unwrap_or_default();
            let form = format!("prompt={prompt}&login={who}&password=any");
            Ok((action, Some(form)))
        })
    }

    /// Goes to the pages that begin at `url` and does not sign in.
    ///
    /// # Errors
    ///
    /// When the pages lead somewhere else.
    pub fn abort(&self, url: &str, redirect_uri: &str) -> Outcome<Returned> {
        self.follow(url, redirect_uri, |page| {
            let links = page.split("href=\"").skip(1);
            let mut links = links.filter_map(|rest| rest.split('"').next());
            let abort = links.find(|link| link.ends_with("/abort")).ok_or_else(|| no_form(page))?;
            Ok((abort.to_owned(), None))
        })
    }

    fn follow(
        &self,
        url: &str,
        redirect_uri: &str,
        answer: impl Fn(&str) -> Outcome<(String, Option<String>)>,
    ) -> Outcome<Returned> {
        let mut next = (Url::parse(url)?, None);
        for _ in 0..MAX_PAGES {
            let (at, form) = next;
            let (page, location) = self.fetch(&at, form.as_deref())?;
            next = match location {
                Some(location) if location.as_str().starts_with(redirect_uri) => {
                    return Ok(Returned::from(&location));
                }
                Some(location) => (location, None),
                None => {
                    let (target, form) = answer(&page)?;
                    (at.join(&target)?, form)
                }
            };
        }
        Err(Failure::new(format!("the pages that begin at {url} do not end")))
    }

    /// A page, or where it leads.
    fn fetch(&self, url: &Url, form: Option<&str>) -> Outcome<(String, Option<Url>)> {
        let cookies = self.directory.join("cookies");
        let headers = self.directory.join("headers");
        let mut curl = program("curl")?;
        // Not the browser's trust is under test, but the product's.
        curl.args(["--disable", "--silent", "--show-error", "--insecure", "--max-time", "5"])
            .arg("--cookie")
            .arg(&cookies)
            .arg("--cookie-jar")
            .arg(&cookies)
            .arg("--dump-header")
            .arg(&headers);
        if let Some(form) = form {
            curl.args(["--data", form]);
        }
        let page = run(curl.arg(url.as_str()))?;
        let headers = fs::read_to_string(headers)?;
        let location = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim())
        });
        Ok((page, location.map(|location| url.join(location)).transpose()?))
    }
}

impl Returned {
    fn from(url: &Url) -> Returned {
        let find = |name: &str| {
            let mut pairs = url.query_pairs();
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let value = |name| find(name).unwrap_or_default();
        Returned {
            state: value("state"),
            code: value("code"),
            issuer: value("iss"),
            error: value("error"),
        }
    }
}

/// Node.js with a script that finds its packages beside itself.
fn node(directory: &Path, script: &str, settings: &Value) -> Outcome<Command> {
    let tools = Path::new(NODE_TOOLS);
    if !tools.join("installed").is_file() {
        return Err(Failure::new("no programs for Node.js here: run tests/install"));
    }
    let (file, told) = (directory.join("provider.mjs"), directory.join("settings.json"));
    fs::write(&file, script)?;
    fs::write(&told, settings.to_string())?;
    symlink(tools.join("node_modules"), directory.join("node_modules"))?;
    let mut node = Command::new(tools.join("node"));
    node.arg(file).arg(told).stdin(Stdio::null());
    Ok(node)
}

fn attribute(page: &str, before: &str) -> Option<String> {
    let (_, rest) = page.split_once(before)?;
    Some(rest.split('"').next().unwrap_or_default().to_owned())
}

fn no_form(page: &str) -> Failure {
    Failure::new(format!("this is no page that we know what to do with: {page}"))
}
