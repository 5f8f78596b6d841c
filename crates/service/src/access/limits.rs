//! How much may be called: per token, per workspace, and per address that has no good token.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::Deserialize;

use crate::caller::{Caller, Role};

/// Keys that a limiter knows before those that are idle are dropped.
const KEYS: usize = 10_000;
/// Tokens of nobody, a second and at once: enough for a program whose token has just been revoked, too
/// few to guess one.
const FAILED_PER_SECOND: u32 = 5;
const FAILED_AT_ONCE: u32 = 50;

/// `[limits]`: calls of one token and of one workspace, at each process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls a second that one token may make for long; 1 to 100,000.
    pub token_per_second: NonZeroU32,
    /// Calls that it may make at once after a pause.
    pub token_at_once: NonZeroU32,
    /// Calls a second of all tokens of a workspace.
    pub workspace_per_second: NonZeroU32,
    /// Calls that they may make at once after a pause.
    pub workspace_at_once: NonZeroU32,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        let number = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        LimitsConfig {
            token_per_second: number(100),
            token_at_once: number(1_000),
            workspace_per_second: number(200),
            workspace_at_once: number(2_000),
        }
    }
}

/// Somebody has called too much; good again after this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch {
    pub(super) wait: Duration,
    /// Whose calls were too many.
    pub(super) whose: &'static str,
}

/// Counts calls. Clones share what they count.
#[derive(Clone)]
pub struct Limits(Arc<Counted>);

struct Counted {
    tokens: Limiter<String>,
    workspaces: Limiter<String>,
    /// A lane of their own for calls in an emergency: as wide as the other, and never full of it.
    emergencies: Limiter<String>,
    failed: Limiter<Option<IpAddr>>,
    /// Calls that need no token, apart from wrong ones: a program that goes on with a revoked token holds
    /// up nobody's sign-in.
    nobodys: Limiter<Option<IpAddr>>,
}

impl Limits {
    /// Counts by these limits.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Limits {
        let number = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Limits(Arc::new(Counted {
            tokens: Limiter::new(config.token_per_second, config.token_at_once),
            workspaces: Limiter::new(config.workspace_per_second, config.workspace_at_once),
            emergencies: Limiter::new(config.token_per_second, config.token_at_once),
            failed: Limiter::new(number(FAILED_PER_SECOND), number(FAILED_AT_ONCE)),
            nobodys: Limiter::new(number(FAILED_PER_SECOND), number(FAILED_AT_ONCE)),
        }))
    }

    /// Counts one call of a caller; services of the fleet are not counted.
    pub(super) fn call(&self, caller: &Caller, emergency: bool) -> Result<(), TooMuch> {
        if caller.role == Role::Service {
            return Ok(());
        }
        if emergency {
            return self.0.emergencies.count(&caller.id, "this token's");
        }
        self.0.tokens.count(&caller.id, "this token's")?;
        self.0.workspaces.count(&caller.workspace, "this workspace's")
    }

    /// Counts one call whose token was refused.
    pub(super) fn failed(&self, from: Option<IpAddr>) -> Result<(), TooMuch> {
        self.0.failed.count(&from.map(one_hosts), "this address's")
    }

    /// Counts one call that needs no token.
    pub(super) fn nobodys(&self, from: Option<IpAddr>) -> Result<(), TooMuch> {
        self.0.nobodys.count(&from.map(one_hosts), "this address's")
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(&LimitsConfig::default())
    }
}

/// A host has a whole /64 of IPv6 addresses, and may call from each.
fn one_hosts(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
    }
}

/// One limit, for each key by itself.
struct Limiter<Key: Hash + Eq + Clone>(DefaultKeyedRateLimiter<Key>);

impl<Key: Hash + Eq + Clone> Limiter<Key> {
    fn new(per_second: NonZeroU32, at_once: NonZeroU32) -> Limiter<Key> {
        Limiter(RateLimiter::keyed(Quota::per_second(per_second).allow_burst(at_once)))
    }

    fn count(&self, key: &Key, whose: &'static str) -> Result<(), TooMuch> {
        if self.0.len() > KEYS {
            // Those that are back at their full measure are as good as never seen.
            self.0.retain_recent();
        }
        let counted = self.0.check_key(key);
        counted.map_err(|until| TooMuch {
            wait: until.wait_time_from(DefaultClock::default().now()),
            whose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(id: &str, workspace: &str) -> Caller {
        Caller {
            id: id.to_owned(),
            name: id.to_owned(),
            workspace: workspace.to_owned(),
            role: Role::DomainManager,
            domains: Vec::new(),
            owner: id.to_owned(),
        }
    }

    fn limits(token: u32, workspace: u32) -> Limits {
        let number = |n| NonZeroU32::new(n).unwrap();
        Limits::new(&LimitsConfig {
            token_per_second: number(1),
            token_at_once: number(token),
            workspace_per_second: number(1),
            workspace_at_once: number(workspace),
        })
    }

    #[test]
    fn a_token_that_calls_too_much_holds_up_nobody_else() {
        let limits = limits(3, 100);
        let (busy, other) = (caller("busy", "w"), caller("other", "w"));
        for _ in 0..3 {
            limits.call(&busy, false).unwrap();
        }
        let refused = limits.call(&busy, false).unwrap_err();
        assert!(refused.wait <= Duration::from_secs(1) && !refused.wait.is_zero(), "{refused:?}");
        limits.call(&other, false).unwrap();
    }

    #[test]
    fn many_tokens_of_one_workspace_hold_up_no_other_workspace() {
        let limits = limits(100, 3);
        for n in 0..3 {
            limits.call(&caller(&format!("token {n}"), "busy"), false).unwrap();
        }
        let refused = limits.call(&caller("one more", "busy"), false).unwrap_err();
        assert_eq!(refused.whose, "this workspace's");
        limits.call(&caller("a token", "other"), false).unwrap();
    }

    #[test]
    fn an_emergency_is_not_held_up_by_other_calls() {
        let limits = limits(1, 1);
        let caller = caller("busy", "w");
        limits.call(&caller, false).unwrap();
        limits.call(&caller, false).unwrap_err();
        limits.call(&caller, true).unwrap();
    }

    #[test]
    fn a_hosts_many_addresses_count_as_one_and_wrong_tokens_hold_up_no_sign_in() {
        let limits = Limits::default();
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for n in 0..FAILED_AT_ONCE {
            limits.failed(address(&format!("2001:db8::{n:x}"))).unwrap();
        }
        limits.failed(address("2001:db8::ffff")).unwrap_err();
        limits.failed(address("2001:db8:0:1::1")).unwrap();
        limits.nobodys(address("2001:db8::1")).unwrap();
    }

    #[test]
    fn services_of_the_fleet_are_not_counted() {
        let limits = limits(1, 1);
        let fleet = Caller { role: Role::Service, ..caller("fleet", "w") };
        for _ in 0..100 {
            limits.call(&fleet, false).unwrap();
        }
    }
}
