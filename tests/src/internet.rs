//! The world around the product, started in one line.

use crate::knot::{Knot, Zone};
use crate::{Outcome, Pebble, Unbound, World};

/// Names, and an authority that certifies them. The parts stop when this is dropped.
///
/// ```text
/// .                     registry  192.0.2.1
/// test.                 registry
///   example.test.       zones     192.0.2.53   a customer, with mx.example.test
///   region.test.        zones                  the operator: (*.)eu-1, (*.)us-1, mail
/// ```
///
/// The records as they start are the files in `tests/zones`.
pub struct Internet {
    /// Serves the root and `test.`: change it to delegate.
    pub registry: Knot,
    /// Serves `example.test.` and `region.test.`.
    pub zones: Knot,
    /// Resolves for everyone.
    pub resolver: Unbound,
    /// Issues certificates.
    pub authority: Pebble,
}

impl Internet {
    /// Starts all parts, and waits until they are ready.
    ///
    /// # Errors
    ///
    /// When a part does not come up.
    pub fn start(world: &World) -> Outcome<Self> {
        let registry = [
            Zone { name: ".", text: include_str!("../zones/root.zone") },
            Zone { name: "test.", text: include_str!("../zones/test.zone") },
        ];
        let zones = [
            Zone { name: "example.test.", text: include_str!("../zones/example.test.zone") },
            Zone { name: "region.test.", text: include_str!("../zones/region.test.zone") },
        ];
        Ok(Self {
            registry: Knot::start(world, World::REGISTRY, &registry)?,
            zones: Knot::start(world, World::DNS_HOST, &zones)?,
            resolver: Unbound::start(world, World::REGISTRY)?,
            authority: Pebble::start(world)?,
        })
    }
}
