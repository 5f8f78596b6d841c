//! `dmarcer up`: every service in one process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::assembly::{self, Addresses, Running, reachable};
use crate::cli::failure::Failure;
use crate::cli::output::write_all;
use crate::config::Config;
use crate::config_check::wrong;

/// Run every service in one process.
#[derive(Debug, Args)]
#[command(after_help = "Example: dmarcer up --config /etc/dmarcer/dmarcer.toml\n\n\
    Each key may be overridden by the environment: DMARCER__CONTROL__LISTEN=127.0.0.1:7443")]
pub(crate) struct UpArgs {
    /// The configuration; defaults and the environment where left out
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: &UpArgs) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref()).map_err(wrong)?;
    service::telemetry::start(config.log.format.into(), &config.log.level);
    let interrupted = interrupted()?;

    let running = assembly::start(config).await.map_err(|e| Failure::fault(&e))?;
    say(&format!("serving: {}", edges(&running.addresses)))?;
    if let Some(path) = &running.admin.made_in {
        say(&format!("admin token: {}", path.display()))?;
    }
    run_until(running, interrupted, async |running| {
        let grpc = reachable(running.addresses.grpc);
        say(&format!("ready: grpc http://{grpc}, {}", edges(&running.addresses)))
    })
    .await
}

/// Runs until `interrupted`. Once everything has started, `ready` says so.
pub(crate) async fn run_until(
    running: Running,
    interrupted: impl Future<Output = ()>,
    ready: impl AsyncFnOnce(&Running) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let run = async {
        running.ready().await;
        ready(&running).await?;
        std::future::pending().await
    };
    let outcome = tokio::select! {
        failed = run => failed,
        () = interrupted => Ok(()),
    };
    // Whoever interrupts once more doesn't want to wait.
    let again = self::interrupted()?;
    tokio::select! {
        () = running.stop() => {}
        () = again => {}
    }
    outcome
}

/// Ends at SIGTERM or SIGINT.
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn edges(addresses: &Addresses) -> String {
    let list = |addresses: &[SocketAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match &addresses.edge {
        None => "no edge".to_owned(),
        Some(edge) => {
            let (https, http) = (list(&edge.https), list(&edge.http));
            format!("edge https {https}, http {http}, region {}", edge.region)
        }
    }
}

/// A line for whoever started this. That nobody reads it is no reason to stop.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    match write_all(&mut io::stdout().lock(), format!("{line}\n").as_bytes()) {
        Err(Failure::ClosedPipe) => Ok(()),
        outcome => outcome,
    }
}
