//! At the root of every token is a person, or whoever holds the token in the configuration.

use std::fmt;
use std::str::FromStr;

use service::caller::Caller;
use store::StoreError;
use store::sqlx::AnyPool;

use super::places::{Owner, Places};
use super::refused::Refused;
use crate::sql::Person;

/// What the holder of the token in the configuration is called.
pub(crate) const ADMIN: &str = "admin";
const PERSON: &str = "person:";

/// Who is at the root of a token, as it is stored and as callers carry it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum OwnerId {
    /// Whoever holds the token in the configuration.
    Admin,
    /// A person, by their id.
    Person(String),
}

/// The text names no owner of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an owner is admin, or person: and an id")]
pub(crate) struct NoOwner;

impl OwnerId {
    /// What the owner may do now, and what they are called for people.
    pub(crate) async fn find(&self, pool: &AnyPool) -> Result<(Owner, String), StoreError> {
        let OwnerId::Person(id) = self else { return Ok((Owner::Admin, ADMIN.to_owned())) };
        match Person::find(pool, id).await? {
            Some(person) => {
                let places = Places::of(person.given(pool).await?);
                Ok((Owner::Person(places), person.shown()))
            }
            // People are never deleted; who isn't there has no role.
            None => Ok((Owner::Person(Places::default()), id.clone())),
        }
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnerId::Admin => f.write_str(ADMIN),
            OwnerId::Person(id) => write!(f, "{PERSON}{id}"),
        }
    }
}

impl FromStr for OwnerId {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<OwnerId, NoOwner> {
        match text.strip_prefix(PERSON) {
            Some(id) if !id.is_empty() => Ok(OwnerId::Person(id.to_owned())),
            None if text == ADMIN => Ok(OwnerId::Admin),
            _ => Err(NoOwner),
        }
    }
}

/// Whether a call was made with the token in the configuration itself, not with one that it made.
pub(crate) fn is_admin_token(caller: &Caller) -> bool {
    caller.id == ADMIN
}

/// Somebody has to stay Platform admin, of so many before and after a change. The holder of the token in
/// the configuration stays one anyway, and may.
pub(crate) fn admins_stay(caller: &Caller, before: i64, after: i64) -> Result<(), Refused> {
    if before > 0 && after == 0 && !is_admin_token(caller) {
        return Err(Refused::LastPlatformAdmin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use service::caller::Role;

    use super::*;

    #[test]
    fn the_last_platform_admin_stays() {
        for (caller, before, after, stays) in [
            ("person:1", 2, 1, true),
            ("person:1", 1, 1, true),
            ("person:1", 1, 0, false),
            ("token:1", 1, 0, false),
            ("service:fleet", 1, 0, false),
            // Where there is none, nobody is the last.
            ("token:1", 0, 0, true),
            ("admin", 1, 0, true),
        ] {
            let caller = Caller::new(caller, "default", Role::PlatformAdmin);
            let what = format!("{} {before} {after}", caller.id);
            assert_eq!(admins_stay(&caller, before, after).is_ok(), stays, "{what}");
        }
    }

    #[test]
    fn an_owner_is_read_as_it_is_written() {
        for text in ["admin", "person:abc"] {
            assert_eq!(text.parse::<OwnerId>().unwrap().to_string(), text);
        }
        for text in ["", "person:", "Admin", "token:abc", "service:fleet"] {
            assert!(text.parse::<OwnerId>().is_err(), "{text}");
        }
    }
}
