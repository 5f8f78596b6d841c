//! Convert: between Standard and Parked.

use crate::claim::{Claim, Kind};
use crate::refusal::Refusal;

impl Claim {
    /// Makes it a domain of this kind. Nothing happens if it is one.
    ///
    /// # Errors
    /// Hosting is on or stopping.
    pub fn convert(&self, kind: Kind) -> Result<Claim, Refusal> {
        if kind != self.kind {
            self.off()?;
        }
        Ok(Claim { kind, ..self.clone() })
    }
}
