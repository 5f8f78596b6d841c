//! What every process needs, whatever it is for.
//!
//! * [`config`]: a TOML file and the environment, with errors that name the key; secrets.
//! * [`grpc`]: one listener with health and reflection; [`access`]: who may call what, checked in front
//!   of all its services; [`caller`]: who calls; [`token`]: the shape of their tokens; [`page`]: page
//!   tokens; [`peer`]: calls to other services.
//! * [`supervise`]: loops that wake on a signal and on a timer, and are started again when they
//!   fail; [`clock`]: time as something that is passed in.
//! * [`files`]: key files and the lock on a data directory; [`sealed`]: values encrypted at rest;
//!   [`telemetry`]: logs.
//!
//! **In**: configuration. **Out**: running servers and loops. **Absent**: any product word.

pub mod access;
pub mod caller;
pub mod clock;
pub mod config;
pub mod files;
pub mod grpc;
pub mod page;
pub mod peer;
pub mod sealed;
pub mod supervise;
pub mod telemetry;
pub mod token;

pub use tokio_util::sync::CancellationToken as Shutdown;
