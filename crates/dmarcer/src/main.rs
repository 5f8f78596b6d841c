//! `dmarcer`: hosted MTA-STS in one binary.
//!
//! * [`cli`]: the commands, and those among them that call a server.
//! * [`config`]: the configuration file; [`config_check`] says what is wrong with one.
//! * [`up`]: every service in one process, put together by [`assembly`].
//! * [`playground`]: the same beside a name server of its own, to try it all on loopback.
//!
//! **In**: arguments, a file, the environment. **Out**: exit codes 0 done, 1 refused or failed, 2 wrong
//! usage, 3 `--wait` ran out. **Absent**: any rule of the product; those are in the services.

mod assembly;
mod cli;
mod config;
mod config_check;
mod playground;
mod up;

use std::process::ExitCode;

use mimalloc::MiMalloc;
use tokio::runtime::Builder;

/// A handshake is many small allocations: this takes 7 % off what a fetch costs the edge
/// (`cargo bench -p dmarcer-tests --bench edge_vs_nginx`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Before anything that could speak TLS. It fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => cli::failure::cannot_start(&error),
    }
}
