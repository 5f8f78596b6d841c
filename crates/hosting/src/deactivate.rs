//! Deactivate: withdraw the policy in the way that senders understand.

use mta_sts::{Mode, Policy};

use crate::claim::{Claim, State};
use crate::names::Revision;
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, NONE_MAX_AGE_SECONDS, Version};

impl Claim {
    /// Begins to stop: `mode: none` with a short `max_age` under a new id
    /// ([RFC 8461 section 8.3](https://www.rfc-editor.org/rfc/rfc8461#section-8.3)).
    ///
    /// The mx lines stay, because one sender in real use refuses a policy without any.
    /// For how long it is then served, [`stops_at`](crate::stops_at) says.
    ///
    /// # Errors
    /// Hosting is off or stopping already, or has changed since the caller looked.
    pub fn deactivate(&self, expected: Option<Revision>, fresh: Fresh) -> Result<Claim, Refusal> {
        let hosting = self.active(expected)?;
        let policy = Policy {
            mode: Mode::None,
            mx: hosting.current.policy.mx.clone(),
            max_age_seconds: NONE_MAX_AGE_SECONDS,
        };
        let state = State::Stopping { since: fresh.now };
        let version = Version::new(Change::Stopped, policy, hosting.current.placeholder, fresh);
        self.with(hosting, state, None, version)
    }
}
