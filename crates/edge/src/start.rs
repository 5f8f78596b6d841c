//! Puts the parts of an edge together, and runs them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bus::SharedBus;
use rand::RngExt;
use rand::distr::Alphanumeric;
use service::Shutdown;
use service::clock::SharedClock;
use service::files::{FileError, create_directory, read_or_create_key, write_private};
use service::sealed::Kek;
use service::supervise::keep_running;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{info, warn};
use wire::envelope::{Signer, Trust};
use zeroize::Zeroizing;

use crate::acknowledge::Acknowledger;
use crate::bucket::Bucket;
use crate::challenge::Challenges;
use crate::config::{Config, InvalidConfig, is_id};
use crate::counts::{Counts, Courier, Spool};
use crate::follow::{Again, Follower};
use crate::listen::{Room, accept, bind_all};
use crate::scrub::Scrubber;
use crate::serve::{Protocols, Server};
use crate::sites::Sites;
use crate::store::disk::Disk;
use crate::store::{Store, StoreError};
use crate::take::{self, Taker};
use crate::tls;

/// Everything that an edge is handed.
pub struct Parts {
    /// What the operator set.
    pub config: Config,
    /// Its own folder. Nobody else writes there.
    pub data_dir: PathBuf,
    /// Where documents come from and counts go.
    pub bus: SharedBus,
    /// Whose documents are believed.
    pub trust: Trust,
    /// Signs for bucket `edges`.
    pub signer: Signer,
    /// The region's raw X25519 private key, which opens private keys that were sealed to it.
    pub region_key: Zeroizing<Vec<u8>>,
    /// Encrypts private keys on the edge's disk.
    pub credential: Kek,
    /// The time.
    pub clock: SharedClock,
    /// Ends [`Edge::run`].
    pub shutdown: Shutdown,
}

/// Why an edge could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The folder can't be used.
    #[error("the edge's folder can't be used")]
    Folder(#[from] FileError),
    /// The store can be neither opened nor made anew.
    #[error("the edge's store in {} can't be opened", folder.display())]
    Store {
        /// The edge's folder.
        folder: PathBuf,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The address is taken or not ours.
    #[error("the edge can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS can't be set up.
    #[error("the edge can't set up TLS")]
    Tls(#[from] rustls::Error),
}

/// An edge that has its store open and its addresses bound.
pub struct Edge {
    id: String,
    https: Vec<TcpListener>,
    http: Vec<TcpListener>,
    room: Room,
    http_room: Room,
    server: Arc<Server>,
    challenges: Arc<Challenges>,
    followers: Vec<Follower>,
    acknowledger: Acknowledger,
    courier: Courier,
    scrubber: Scrubber,
    shutdown: Shutdown,
}

/// Opens the store and binds the addresses: what it had, it can serve from now on.
///
/// # Errors
/// [`StartError`] says what to change. A damaged store is none: it is set aside and filled again.
pub async fn start(parts: Parts) -> Result<Edge, StartError> {
    let Parts { config, data_dir, bus, trust, signer, region_key, credential, clock, shutdown } =
        parts;
    config.check()?;
    create_directory(&data_dir)?;
    let id = match &config.id {
        Some(id) => id.clone(),
        None => kept_id(&data_dir, &config.region)?,
    };
    let (store, set_aside) = Disk::open(&data_dir).map_err(|e| store_error(&data_dir, e))?;
    let store: Arc<dyn Store> = Arc::new(store);

    let provider = Arc::new(tls::provider());
    let credential = Arc::new(credential);
    let again = Arc::new(Again::default());
    let sites = Sites::new(store.clone(), credential.clone(), provider.clone(), again.clone());
    let sites = Arc::new(sites);
    let taker = Arc::new(Taker::new(take::Parts {
        region: config.region.clone(),
        trust: trust.clone(),
        region_key,
        credential,
        provider: provider.clone(),
        clock: clock.clone(),
        store: store.clone(),
        sites: sites.clone(),
    }));
    if let Some(why) = set_aside {
        taker.note(take::STORE, &format!("the store was set aside and is filled anew: {why}"));
    }
    let domains = taker.told().domains;

    let counts = Arc::new(Counts::new(clock.clone()));
    let spool = Spool::new(store.clone(), id.clone(), config.region.clone());
    let (room, http_room) = Room::both(config.max_connections);
    let protocols = || Protocols::new(shutdown.clone());
    let server = Server {
        tls: Arc::new(tls::config(provider, sites.clone())?),
        protocols: protocols(),
        sites: sites.clone(),
        counts: counts.clone(),
        room: room.clone(),
    };
    let challenges = Challenges { protocols: protocols(), sites, room: http_room.clone() };
    let follower = |bucket: Bucket| Follower {
        bucket,
        name: bucket.name(&config.region),
        bus: bus.clone(),
        taker: taker.clone(),
        again: again.clone(),
    };
    let edge = Edge {
        https: bind(&config.https)?,
        http: bind(&config.http)?,
        followers: Bucket::ALL.map(follower).into(),
        acknowledger: Acknowledger {
            edge_id: id.clone(),
            region: config.region.clone(),
            bus: bus.clone(),
            trust,
            signer: Arc::new(signer),
            taker: taker.clone(),
            again: again.clone(),
            started_at: clock.now(),
            clock,
        },
        courier: Courier {
            counts,
            spool: Arc::new(spool),
            bus: bus.clone(),
            taker: taker.clone(),
            again: again.clone(),
        },
        scrubber: Scrubber { store, again: again.clone() },
        server: Arc::new(server),
        challenges: Arc::new(challenges),
        room,
        http_room,
        shutdown,
        id,
    };
    info!(edge = edge.id, region = config.region, domains, "the edge is ready");
    Ok(edge)
}

impl Edge {
    /// Unique in the fleet.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where policies are served.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.https)
    }

    /// Where challenges are answered.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.http)
    }

    /// Serves and follows until shutdown, then finishes what is under way.
    pub async fn run(self) {
        let shutdown = self.shutdown;
        let mut loops = JoinSet::new();
        for follower in self.followers {
            let follow = move || follower.clone().follow();
            loops.spawn(keep_running("follow", shutdown.clone(), follow));
        }
        let acknowledger = self.acknowledger;
        let acknowledge = move || acknowledger.clone().acknowledge();
        loops.spawn(keep_running("acknowledge", shutdown.clone(), acknowledge));
        let courier = self.courier.clone();
        loops.spawn(keep_running("write", shutdown.clone(), move || courier.clone().write()));
        let courier = self.courier.clone();
        loops.spawn(keep_running("send", shutdown.clone(), move || courier.clone().send()));
        let scrubber = self.scrubber;
        loops.spawn(keep_running("scrub", shutdown.clone(), move || scrubber.clone().scrub()));

        let mut listeners = JoinSet::new();
        for listener in self.https {
            let server = self.server.clone();
            let serve = move |stream| server.clone().connection(stream);
            listeners.spawn(accept(listener, self.room.clone(), shutdown.clone(), serve));
        }
        for listener in self.http {
            let challenges = self.challenges.clone();
            let serve = move |stream| challenges.clone().connection(stream);
            listeners.spawn(accept(listener, self.http_room.clone(), shutdown.clone(), serve));
        }

        listeners.join_all().await;
        tokio::join!(self.room.drained(), self.http_room.drained());
        loops.join_all().await;
        if let Err(fault) = self.courier.write_now().await {
            warn!(fault, "the last fetch counts could not be written");
        }
        info!(edge = self.id, "the edge has stopped");
    }
}

fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    bind_all(addresses).map_err(|(address, source)| StartError::Bind { address, source })
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// The id that was made at the first start. It is beside the store, not in it: a new store does not
/// make a new edge.
pub(crate) fn kept_id(folder: &Path, region: &str) -> Result<String, StartError> {
    let make = || {
        let letters = rand::rng().sample_iter(Alphanumeric).take(8);
        let letters: String = letters.map(char::from).collect();
        format!("{region}-{}", letters.to_lowercase()).into_bytes()
    };
    let path = folder.join("id");
    let kept = read_or_create_key(&path, make)?;
    let id = String::from_utf8_lossy(&kept).trim().to_owned();
    if is_id(&id) {
        return Ok(id);
    }
    // The edge under the lost id is silent from now on, and soon waited for no longer.
    let made = make();
    write_private(&path, &made)?;
    let id = String::from_utf8_lossy(&made).into_owned();
    warn!(file = %path.display(), id, "the file held no id of an edge: it has a new one");
    Ok(id)
}

fn store_error(folder: &Path, error: StoreError) -> StartError {
    StartError::Store { folder: folder.to_owned(), source: Box::new(error) }
}
