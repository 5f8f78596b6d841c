//! The closed world that a newcomer tries everything in: a name server with an example zone.
//!
//! `dmarcer playground` puts the fleet beside it. A domain owner's DNS host is played by
//! [`NameServer`]: it answers for `example.test`, for the region's names, and for a root that knows
//! of nothing else, and it takes signed dynamic updates, so that publishing a record really is
//! publishing a record.
//!
//! * **In**: a folder for zone files, the key that may change them. **Out**: answers over UDP and TCP.
//! * **Owns**: the zone files. **Absent**: services, recursion (the whole world is here), DNSSEC,
//!   zone transfer. It is made for one user on loopback, not for a network.
//!
//! Reading order: [`zone`] (what there is), [`answer`] (queries, RFC 1034 section 4.3.2), [`update`]
//! (RFC 2136 section 3), [`server`] (sockets, signatures), [`publish`] (the client's side of an
//! update), [`key`].

pub mod answer;
pub mod key;
pub mod publish;
pub mod server;
#[cfg(test)]
mod tests;
pub mod update;
pub mod world;
pub mod zone;
mod zone_file;

pub use key::UpdateKey;
pub use server::NameServer;
