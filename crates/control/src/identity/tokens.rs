//! What a new token may be, and how long a token is taken.

use std::collections::BTreeSet;

use hosting::Domain;
use jiff::{SignedDuration, Timestamp};
use service::caller::Role;

use super::power::{Power, Reach};
use super::refused::{Refused, when};

/// The shortest life that may be asked for: long enough to be passed on and used.
const SHORTEST: SignedDuration = SignedDuration::from_hours(1);
/// The longest: a year, so that no key is forgotten for longer.
pub(crate) const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);
/// The life of a token whose maker does not say: a quarter.
const USUAL: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A sign-in that nobody uses ends after half a day: a browser left open overnight is signed out.
pub(crate) const IDLE: SignedDuration = SignedDuration::from_hours(12);
/// A sign-in ends after a week at the latest: then the provider is asked again who this is, and
/// what they may do.
pub(crate) const SIGN_IN_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A workspace has so many active tokens at most: far more than it has programs.
pub(crate) const MAX_TOKENS: u64 = 1000;

/// A token, as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Read-only where it is not said.
    pub(crate) role: Option<Role>,
    /// None: as far as the maker's own go.
    pub(crate) domains: BTreeSet<Domain>,
    /// A quarter where it is not said.
    pub(crate) lasts: Option<SignedDuration>,
}

/// Who makes a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) power: Power,
    /// When the API token ends that it is made with. None for a person who has signed in, and for
    /// the token in the configuration: they are there themselves, and what they make lives on.
    pub(crate) ends: Option<Timestamp>,
}

/// A token, as it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) power: Power,
    pub(crate) expires_at: Timestamp,
}

/// Where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Expired,
    Revoked,
}

/// When a token was or will be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) is_sign_in: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

impl Life {
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        let used = self.last_used_at.unwrap_or(self.created_at);
        let idle = self.is_sign_in && now.duration_since(used) >= IDLE;
        match self.revoked_at {
            Some(_) => Standing::Revoked,
            None if idle || now >= self.expires_at => Standing::Expired,
            None => Standing::Active,
        }
    }
}

/// How long a token is to last; none where its maker does not say.
pub(crate) fn lasts(seconds: u32) -> Result<Option<SignedDuration>, Refused> {
    if seconds == 0 {
        return Ok(None);
    }
    let lasts = SignedDuration::from_secs(seconds.into());
    if lasts < SHORTEST || lasts > LONGEST {
        let (least, most) = (SHORTEST.as_secs(), LONGEST.as_secs());
        let why = format!("a token lasts 1 hour to 366 days: say {least} to {most}");
        return Err(Refused::invalid("expires_after_seconds", why));
    }
    Ok(Some(lasts))
}

/// The token that a maker gets who wants this one: never more than they have themselves.
pub(crate) fn grant(wanted: &Wanted, maker: &Maker, now: Timestamp) -> Result<Granted, Refused> {
    Ok(Granted { power: power(wanted, &maker.power)?, expires_at: end(wanted, maker, now)? })
}

fn power(wanted: &Wanted, maker: &Power) -> Result<Power, Refused> {
    let role = wanted.role.unwrap_or(Role::ReadOnly);
    if role > maker.role() {
        return Err(Refused::RoleTooHigh { asked: role, yours: maker.role() });
    }
    match (role, maker) {
        (Role::DomainManager, Power::Manager(Reach::Named(own))) => {
            if let Some(domain) = wanted.domains.difference(own).next() {
                let (domain, yours) = (domain.clone(), maker.domains());
                return Err(Refused::DomainNotYours { domain, yours });
            }
            let none = wanted.domains.is_empty();
            Ok(Power::new(role, if none { own.clone() } else { wanted.domains.clone() }))
        }
        _ => Ok(Power::new(role, wanted.domains.clone())),
    }
}

fn end(wanted: &Wanted, maker: &Maker, now: Timestamp) -> Result<Timestamp, Refused> {
    let end = now.saturating_add(wanted.lasts.unwrap_or(USUAL)).unwrap_or(Timestamp::MAX);
    match maker.ends {
        Some(ends) if ends < end && wanted.lasts.is_some() => {
            let ends = when(ends);
            let why =
                format!("the token that makes it ends at {ends}: ask for less, or leave it out");
            Err(Refused::invalid("expires_after_seconds", why))
        }
        Some(ends) => Ok(end.min(ends)),
        None => Ok(end),
    }
}

#[cfg(test)]
mod tests {
    use super::super::power::tests::power;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    fn after(hours: i64) -> Timestamp {
        now().saturating_add(SignedDuration::from_hours(hours)).unwrap()
    }

    #[test]
    fn a_token_can_do_no_more_than_who_makes_it() {
        // Who makes it, the role and domains that they want, and what they get.
        for (maker, role, domains, expected) in [
            ("read", None, "", "read"),
            ("read", Some(Role::ReadOnly), "", "read"),
            ("read", Some(Role::DomainManager), "", "ROLE_TOO_HIGH"),
            ("read", Some(Role::DomainManager), "a.example", "ROLE_TOO_HIGH"),
            ("read", Some(Role::PlatformAdmin), "", "ROLE_TOO_HIGH"),
            ("manage", None, "", "read"),
            ("manage", Some(Role::DomainManager), "", "manage"),
            ("manage", Some(Role::DomainManager), "a.example", "manage a.example"),
            ("manage", Some(Role::PlatformAdmin), "", "ROLE_TOO_HIGH"),
            ("manage a.example", Some(Role::ReadOnly), "", "read"),
            ("manage a.example", Some(Role::DomainManager), "", "manage a.example"),
            ("manage a.example", Some(Role::DomainManager), "a.example", "manage a.example"),
            ("manage a.example", Some(Role::DomainManager), "b.example", "DOMAIN_NOT_YOURS"),
            (
                "manage a.example",
                Some(Role::DomainManager),
                "a.example b.example",
                "DOMAIN_NOT_YOURS",
            ),
            (
                "manage a.example b.example",
                Some(Role::DomainManager),
                "b.example",
                "manage b.example",
            ),
            ("manage a.example", Some(Role::PlatformAdmin), "", "ROLE_TOO_HIGH"),
            ("admin", None, "", "read"),
            ("admin", Some(Role::DomainManager), "", "manage"),
            ("admin", Some(Role::DomainManager), "a.example", "manage a.example"),
            ("admin", Some(Role::PlatformAdmin), "", "admin"),
        ] {
            let named = domains.split_whitespace().map(|name| Domain::parse(name).unwrap());
            let wanted = Wanted { role, domains: named.collect(), lasts: None };
            let maker_of = Maker { power: power(maker), ends: None };
            let what = format!("{maker} wants {role:?} {domains}");
            match grant(&wanted, &maker_of, now()) {
                Ok(granted) => assert_eq!(granted.power, power(expected), "{what}"),
                Err(refused) => assert_eq!(refused.reason(), expected, "{what}"),
            }
        }
    }

    #[test]
    fn no_token_outlives_the_token_that_makes_it() {
        for (ends, wanted, expected) in [
            (None, None, Some(90 * 24)),
            (None, Some(1), Some(1)),
            (None, Some(366 * 24), Some(366 * 24)),
            (Some(24), None, Some(24)),
            (Some(91 * 24), None, Some(90 * 24)),
            (Some(24), Some(24), Some(24)),
            (Some(24), Some(23), Some(23)),
            (Some(24), Some(25), None),
        ] {
            let lasts = wanted.map(SignedDuration::from_hours);
            let wanted = Wanted { role: None, domains: BTreeSet::new(), lasts };
            let maker = Maker { power: Power::ReadOnly, ends: ends.map(after) };
            let end = grant(&wanted, &maker, now()).ok().map(|granted| granted.expires_at);
            assert_eq!(end, expected.map(after), "{ends:?} {wanted:?}");
        }
    }

    #[test]
    fn a_life_is_an_hour_to_a_year() {
        for (seconds, expected) in [
            (0, Ok(None)),
            (1, Err(())),
            (3599, Err(())),
            (3600, Ok(Some(3600))),
            (366 * 86_400, Ok(Some(366 * 86_400))),
            (366 * 86_400 + 1, Err(())),
            (u32::MAX, Err(())),
        ] {
            let read = lasts(seconds).map(|lasts| lasts.map(|lasts| lasts.as_secs()));
            assert_eq!(read.map_err(|_| ()), expected, "{seconds}");
        }
    }

    #[test]
    fn a_sign_in_ends_when_it_is_idle_and_an_api_token_does_not() {
        // Hours since it was made: now, its last use, its end, and whether it was revoked.
        for (is_sign_in, at, used, ends, revoked, expected) in [
            (false, 0, None, 24, false, Standing::Active),
            (false, 23, None, 24, false, Standing::Active),
            (false, 24, None, 24, false, Standing::Expired),
            (false, 1000, Some(999), 999, false, Standing::Expired),
            (false, 1, None, 24, true, Standing::Revoked),
            (false, 25, None, 24, true, Standing::Revoked),
            (true, 11, None, 168, false, Standing::Active),
            (true, 12, None, 168, false, Standing::Expired),
            (true, 22, Some(11), 168, false, Standing::Active),
            (true, 23, Some(11), 168, false, Standing::Expired),
            (true, 168, Some(167), 168, false, Standing::Expired),
            (true, 1, None, 168, true, Standing::Revoked),
        ] {
            let life = Life {
                is_sign_in,
                created_at: now(),
                expires_at: after(ends),
                last_used_at: used.map(after),
                revoked_at: revoked.then(now),
            };
            assert_eq!(life.standing(after(at)), expected, "{is_sign_in} {at} {used:?} {ends}");
        }
    }
}
