//! `dmarcer playground`: the fleet, a name server and an example domain on loopback, in one folder.

mod guide;
mod publish;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::playground::world::{EXAMPLE_DOMAIN, REGION_HOST, zones};
use ::playground::{NameServer, UpdateKey};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use service::Shutdown;
use service::files::{create_directory, lock_directory, read_or_create_key, write_private};
use service::telemetry::LogFormat;
use tokio::time::{Instant, sleep};
use wire::control::{AddDomainRequest, DomainKind};

use crate::assembly::{self, LOCAL_ROOT_FILE, reachable};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::{ClientOptions, Session};
use crate::config::Config;
use crate::up::{interrupted, run_until, say};

/// The region of the playground.
const REGION: &str = "local";
/// The name of the key that may update zones.
const KEY_NAME: &str = "playground.";

/// How long the first call is tried: a service may still be waiting for another one.
const FIRST_CALL: Duration = Duration::from_secs(10);
const FIRST_CALL_AGAIN: Duration = Duration::from_millis(200);

/// Try everything on this machine: a closed world on loopback.
#[derive(Debug, Args)]
#[command(after_help = "Example: dmarcer playground\n\n\
    It prints what to type next, in another terminal. Ctrl-C ends it; the next start in the same \
    folder goes on where it was.")]
pub(crate) struct PlaygroundArgs {
    /// Where everything is kept
    #[arg(long, global = true, value_name = "DIR", default_value = "playground")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Option<PlaygroundCommand>,
}

#[derive(Debug, Subcommand)]
enum PlaygroundCommand {
    /// Publish a domain's records in the playground's DNS, by signed update, until all are live
    #[command(after_help = "Example: dmarcer playground publish example.test")]
    Publish {
        /// The domain
        name: String,
    },
}

/// Where a playground was last reached: the next start takes the same ports if they are free.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
struct Places {
    grpc: SocketAddr,
    https: SocketAddr,
    http: SocketAddr,
    dns: SocketAddr,
}

impl Default for Places {
    fn default() -> Places {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Places { grpc: at(7443), https: at(8443), http: at(8080), dns: at(5300) }
    }
}

pub(crate) async fn run(args: PlaygroundArgs, options: &ClientOptions) -> Result<(), Failure> {
    let folder = Folder(args.dir);
    match args.command {
        None => play(&folder).await,
        Some(PlaygroundCommand::Publish { name }) => publish::run(&folder, options, &name).await,
    }
}

async fn play(folder: &Folder) -> Result<(), Failure> {
    service::telemetry::start(LogFormat::Text, "warn");
    let interrupted = interrupted()?;
    create_directory(&folder.0).map_err(|e| Failure::fault(&e))?;
    let _lock = lock_directory(&folder.0).map_err(|e| Failure::fault(&e))?;

    let stop_dns = Shutdown::new();
    let mut places = folder.places()?.free();
    let server = start_dns(folder, places.dns).await?;
    places.dns = server.address();
    let answering = tokio::spawn(server.run(stop_dns.clone()));

    let running = assembly::start(config(folder, &places)).await.map_err(|e| Failure::fault(&e))?;
    places.grpc = reachable(running.addresses.grpc);
    folder.keep(&places)?;
    say(&format!("starting the playground in {}", folder.0.display()))?;

    let outcome = run_until(running, interrupted, async |running| {
        let token = running.admin.token.expose();
        let added = add_example(&places, token).await;
        say(&guide::text(folder, &places, token, added))
    });
    let outcome = outcome.await;
    stop_dns.cancel();
    // The name server has nothing to finish that its clients would not ask again.
    let _ = answering.await;
    outcome
}

async fn start_dns(folder: &Folder, address: SocketAddr) -> Result<NameServer, Failure> {
    let zone_files = folder.0.join("dns");
    create_directory(&zone_files).map_err(|e| Failure::fault(&e))?;
    let made = UpdateKey::generate(KEY_NAME).map_err(|e| Failure::fault(&e))?;
    let make = || format!("{}\n", made.expose()).into_bytes();
    let kept = read_or_create_key(&folder.update_key(), make).map_err(|e| Failure::fault(&e))?;
    let key = update_key(&kept)?;
    let zones = zones(Ipv4Addr::LOCALHOST).map_err(|why| Failure::new("FAILED", why))?;
    let server = NameServer::start(address, &zone_files, zones, &key).await;
    server.map_err(|e| Failure::fault(&e))
}

fn update_key(text: &[u8]) -> Result<UpdateKey, Failure> {
    UpdateKey::parse(&String::from_utf8_lossy(text)).map_err(|e| Failure::fault(&e))
}

/// The fleet of the playground: like a fresh `dmarcer up`, but in a hurry, and in its own world.
fn config(folder: &Folder, places: &Places) -> Config {
    let mut config = Config { data_dir: folder.data(), ..Config::default() };
    config.control.listen = places.grpc;
    config.dns.resolvers = vec![places.dns];
    config.dns.authoritative_port = places.dns.port();
    config.dns.waiting_seconds = 2;
    config.dns.settled_seconds = 10;
    config.issuer.kind = issuer::Kind::Local;
    config.edge = Some(edge::Config {
        region: REGION.to_owned(),
        https: vec![places.https],
        http: vec![places.http],
        ..edge::Config::default()
    });
    config.region = vec![control::RegionConfig {
        id: REGION.to_owned(),
        name: Some("Playground".to_owned()),
        host: REGION_HOST.to_owned(),
        reports: Some(format!("tls-reports@{REGION_HOST}")),
    }];
    config
}

/// Adds the example; it may be there already. Without it the playground still is one.
async fn add_example(places: &Places, token: &str) -> Result<(), Failure> {
    let client = Client::new(&format!("http://{}", places.grpc), Some(token))?;
    let name = EXAMPLE_DOMAIN.to_owned();
    let request = AddDomainRequest { name, kind: DomainKind::Standard.into() };
    let deadline = Instant::now() + FIRST_CALL;
    loop {
        let added = client.domains().add_domain(request.clone()).await;
        match client.answer(added) {
            Err(failure) if failure.reason() == "DOMAIN_EXISTS" => return Ok(()),
            Err(failure) if failure.is_transient() && Instant::now() < deadline => {}
            outcome => return outcome.map(drop),
        }
        sleep(FIRST_CALL_AGAIN).await;
    }
}

/// The playground's folder.
struct Folder(PathBuf);

impl Folder {
    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn update_key(&self) -> PathBuf {
        self.0.join("dns-update.key")
    }

    fn root_certificate(&self) -> PathBuf {
        self.data().join(LOCAL_ROOT_FILE)
    }

    fn file(&self) -> PathBuf {
        self.0.join("playground.toml")
    }

    /// Where the playground was last reached; the usual places where it is new.
    fn places(&self) -> Result<Places, Failure> {
        let path = self.file();
        if !path.exists() {
            return Ok(Places::default());
        }
        let unreadable = |why: String| {
            Failure::new("FAILED", format!("{} can't be read: {why}", path.display()))
        };
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(e.to_string()))?;
        toml::from_str(&text).map_err(|e| unreadable(e.to_string()))
    }

    fn keep(&self, places: &Places) -> Result<(), Failure> {
        let text = toml::to_string(places).map_err(|e| Failure::fault(&e))?;
        write_private(&self.file(), text.as_bytes()).map_err(|e| Failure::fault(&e))
    }

    /// A client of the playground that runs here.
    fn session(&self, options: &ClientOptions) -> Result<(Session, Places), Failure> {
        if !self.file().exists() {
            let message = format!("there is no playground in {}", self.0.display());
            return Err(Failure::new("NO_PLAYGROUND", message).hint("dmarcer playground"));
        }
        let places = self.places()?;
        let token = match &options.token {
            Some(token) => token.clone(),
            None => self.token()?,
        };
        let server = format!("http://{}", places.grpc);
        Ok((Session::at(&server, &token, options)?, places))
    }

    fn token(&self) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(self.data().join("admin-token"))?)
    }

    fn is_default(&self) -> bool {
        self.0 == Path::new("playground")
    }
}

impl Places {
    /// The same places, and others for those that are taken.
    fn free(mut self) -> Places {
        for place in [&mut self.grpc, &mut self.https, &mut self.http] {
            *place = free(*place);
        }
        // The name server needs UDP and TCP: its own start knows how to find both.
        if free(self.dns) != self.dns || std::net::UdpSocket::bind(self.dns).is_err() {
            self.dns.set_port(0);
        }
        self
    }
}

fn free(wanted: SocketAddr) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    [wanted, any]
        .into_iter()
        .find_map(|address| TcpListener::bind(address).and_then(|held| held.local_addr()).ok())
        .unwrap_or(wanted)
}
