//! The harness of the journeys: real parts around the product, in a network of the test's own.
//!
//! A journey is one `#[test]` whose body runs [inside](netns::inside) a [`World`]: a network in which
//! the ports and names of the real one are free to take. [`Internet`] fills it with real name servers
//! and a certificate authority; a [`Resolver`] is a sender. There are no stand-ins here.
//!
//! `tests/install` installs the programs. Without them, and where the system gives no namespaces, a
//! journey fails: it never passes by skipping.
//!
//! Everything here blocks. In a journey that is fine, also in async code on the thread of the test,
//! which is no worker of the runtime.

pub mod calls;
mod clock;
pub mod curl;
pub mod dig;
pub mod identity_provider;
mod internet;
pub mod knot;
pub mod lossy;
mod nats;
pub mod netns;
mod outcome;
mod pebble;
pub mod process;
pub mod product;
mod resolver;
mod unbound;
pub mod wait;

pub use clock::Clock;
pub use internet::Internet;
pub use knot::Knot;
pub use nats::{Nats, Settings as NatsSettings};
pub use netns::World;
pub use outcome::{Failure, Outcome};
pub use pebble::Pebble;
pub use product::Product;
pub use resolver::Resolver;
pub use unbound::Unbound;
