//! A NATS server with JetStream: the bus of a fleet.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use crate::process::{Daemon, program, run};
use crate::{Failure, Outcome, World};

/// Where a server with this number listens, beside a resolver and an authority on the same address.
const fn port(number: u16) -> u16 {
    4222 + number
}

/// How a server is set up.
#[derive(Default)]
pub struct Settings {
    /// Tells servers of one journey apart: 0 for the first.
    pub number: u16,
    /// More lines of its configuration file: users with their permissions, TLS, leaf nodes. What
    /// stands here under `jetstream` replaces the plain block.
    pub more: String,
}

/// A running server. Its store outlives [`kill`](Nats::kill); [`lose_store`](Nats::lose_store) is
/// what a lost disk is.
pub struct Nats {
    directory: PathBuf,
    address: SocketAddr,
    daemon: Option<Daemon>,
}

impl Nats {
    /// Starts a server that lets everyone in and do everything.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(world: &World) -> Outcome<Self> {
        Self::start_with(world, &Settings::default())
    }

    /// Starts a server.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_with(world: &World, settings: &Settings) -> Outcome<Self> {
        let directory = world.directory("nats")?;
        let address = SocketAddr::new(World::RESOLVER, port(settings.number));
        let config = configuration(&directory, address, &settings.more);
        fs::write(directory.join("nats.conf"), config)?;
        let mut nats = Self { directory, address, daemon: None };
        nats.launch()?;
        Ok(nats)
    }

    /// The URL that the product is given.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Starts it again after [`kill`](Nats::kill), where it was and with what it had.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn launch(&mut self) -> Outcome {
        let mut command = program("nats-server")?;
        command.arg("-c").arg(self.directory.join("nats.conf"));
        command.arg("-P").arg(self.pid_file());
        let address = self.address;
        let ready = || TcpStream::connect(address).map(drop);
        self.daemon = Some(Daemon::start("nats", &self.directory, &mut command, ready)?);
        Ok(())
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Stops the process where it stands: connections stay, and nobody answers.
    ///
    /// # Errors
    ///
    /// When the signal can't be sent.
    pub fn freeze(&self) -> Outcome {
        self.signal("-STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// When the signal can't be sent.
    pub fn thaw(&self) -> Outcome {
        self.signal("-CONT")
    }

    /// Deletes all that a killed server had stored.
    ///
    /// # Errors
    ///
    /// When it is still running, or its files can't be removed.
    pub fn lose_store(&self) -> Outcome {
        if self.daemon.is_some() {
            return Err(Failure::new("kill the NATS server before its store"));
        }
        Ok(fs::remove_dir_all(self.store())?)
    }

    /// Where it keeps the messages of a JetStream stream, such as `KV_regions`, in `*.blk` files.
    pub fn messages(&self, stream: &str) -> PathBuf {
        self.store().join("jetstream/$G/streams").join(stream).join("msgs")
    }

    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("nats.pid")
    }

    fn signal(&self, signal: &str) -> Outcome {
        let pid = fs::read_to_string(self.pid_file())?;
        run(program("kill")?.args([signal, pid.trim()])).map(drop)
    }
}

fn configuration(directory: &Path, address: SocketAddr, more: &str) -> String {
    let store = directory.join("store");
    let jetstream = if more.contains("jetstream") {
        String::new()
    } else {
        format!("jetstream {{ store_dir: \"{}\", sync_interval: always }}\n", store.display())
    };
    let more = more.replace("@STORE", &store.display().to_string());
    format!("listen: \"{address}\"\nmax_payload: 2MB\n{jetstream}{more}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    #[test]
    fn a_server_is_killed_frozen_and_started_again() -> Outcome {
        netns::inside(|world: &World| {
            let mut nats = Nats::start(world)?;
            assert!(nats.lose_store().is_err(), "it is running");
            nats.freeze()?;
            nats.thaw()?;
            nats.kill();
            assert!(TcpStream::connect(nats.address).is_err(), "it is dead");
            nats.lose_store()?;
            nats.launch()?;
            assert!(!nats.messages("KV_regions").exists(), "there is none yet");
            Ok(())
        })
    }
}
