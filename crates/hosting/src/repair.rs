//! Repair: the same body under a fresh id.

use crate::claim::Claim;
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, Version};

impl Claim {
    /// Gives the body another id, and changes nothing else.
    ///
    /// For the time after an edge was silent while an id was announced: it may have handed the
    /// older body to a sender, which keeps it for as long as the id stays
    /// ([RFC 8461 section 8.1](https://www.rfc-editor.org/rfc/rfc8461#section-8.1)).
    ///
    /// # Errors
    /// Hosting is off.
    pub fn repair(&self, fresh: Fresh) -> Result<Claim, Refusal> {
        let hosting = self.on()?;
        let current = &hosting.current;
        let version =
            Version::new(Change::Repaired, current.policy.clone(), current.placeholder, fresh);
        // The same bytes, not the same policy rendered anew: a later release may render otherwise.
        let version = Version { body: current.body.clone(), ..version };
        self.with(hosting, hosting.state, hosting.testing_since, version)
    }
}
