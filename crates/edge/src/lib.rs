//! The edge: serves policies to the mail servers of the world, from its own disk.
//!
//! * **In**: signed documents from the buckets `policies-<region>`, `certificates-<region>` and
//!   `challenges-<region>`; HTTPS requests of senders; HTTP-01 challenges of CAs.
//! * **Out**: the policy file of each name with a certificate for it; bucket `edges`: how far this
//!   edge durably serves, and what it would not take; stream `fetches`: who fetched what.
//! * **Owns**: its folder: the store, its id, nothing that anyone else writes.
//! * **Listens**: `https` for policies by server name, `http` for challenges. No gRPC.
//! * **Absent**: decisions. It serves bytes that were decided elsewhere, and needs nobody while it
//!   does: with bus, databases and all other services gone it serves on, and so it does after a
//!   restart. It has no HTML, no redirect, no certificate for a name that it does not host.
//!
//! What it promises:
//!
//! * A document is acknowledged when it is durable here and being served, not before.
//! * It never steps back: an older document than the one it has, or had, is left aside.
//! * What is damaged is refused and asked for again, never served; all else is served meanwhile.
//! * A flood of removals, or of policies that turn to `none`, stops at a budget.
//!
//! Reading order: [`Parts`] and [`start`] below; `follow.rs` and `take.rs`, how documents come in;
//! `store.rs` and `sites.rs`, where they stay; `tls.rs`, `serve.rs` and `challenge.rs`, how they are
//! served, over `listen.rs` and `flight.rs`; `acknowledge.rs` and `counts.rs`, what is told.
//! `budget.rs`, `cache.rs`, `client.rs`, `scrub.rs` and `seldom.rs` explain themselves.

mod acknowledge;
mod bucket;
mod budget;
mod cache;
mod challenge;
mod client;
mod config;
mod counts;
mod flight;
mod follow;
mod listen;
mod scrub;
mod seldom;
mod serve;
mod sites;
mod start;
mod store;
mod take;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;

pub use config::{Config, InvalidConfig};
pub use start::{Edge, Parts, StartError, start};
