//! Whose a token is, and what this call may do with it.

use service::access::token_hash;
use service::caller::{Caller, Role};
use service::config::Secret;
use service::token;
use store::StoreError;
use wire::{access, control as v1};

use super::owner::{ADMIN, OwnerId};
use super::places::{Asked, Owner, Purpose, Seat, choose};
use super::refused::{Failure, Refused};
use super::seen::Seen;
use super::tokens::Standing;
use crate::Core;
use crate::sql::{TokenRow, Workspace};

/// What is known of callers without the database.
pub(crate) struct Callers {
    /// The hash of the token in the configuration. Nothing has this hash where it is blank.
    admin: Option<[u8; 32]>,
    pub(super) seen: Seen,
}

impl Callers {
    pub(crate) fn new(admin_token: &Secret) -> Callers {
        let admin = admin_token.expose();
        let admin = (!admin.trim().is_empty()).then(|| token_hash(admin));
        Callers { admin, seen: Seen::default() }
    }

    /// Writes down who was seen, now.
    #[cfg(test)]
    pub(crate) async fn settle(&self) {
        for _ in 0..2 {
            let before = self.seen.write.rounds();
            self.seen.write.wake();
            while self.seen.write.rounds() == before {
                tokio::task::yield_now().await;
            }
        }
    }

    fn is_admin(&self, hash: &[u8; 32]) -> bool {
        self.admin.as_ref().is_some_and(|admin| token::is_same(admin, hash))
    }
}

/// The holder of a token, in the workspace that they ask for or in their own.
///
/// # Errors
/// The token is nobody's, or good for nothing any more; or what is wrong with the workspace.
pub(crate) async fn identify(
    core: &Core,
    hash: &[u8; 32],
    workspace: &str,
) -> Result<v1::Identity, Failure> {
    if core.callers.is_admin(hash) {
        let asked = asked(core, workspace).await?;
        let seat = choose(&Purpose::SignIn, &Owner::Admin, &asked)?;
        return Ok(identity(ADMIN.to_owned(), ADMIN.to_owned(), seat, &OwnerId::Admin));
    }
    let pool = core.domains.store().read();
    let now = core.clock.now();
    let token = TokenRow::of_hash(pool, hash).await?;
    let token = token.filter(|token| token.life.standing(now) == Standing::Active);
    let token = token.ok_or(Refused::TokenInvalid)?;
    let (owner, shown) = token.owner.find(pool).await?;
    let asked = asked(core, workspace).await?;
    let seat = choose(&token.purpose, &owner, &asked)?;
    core.callers.seen.note(&token, now);
    let (id, name) = match &token.purpose {
        Purpose::SignIn => (token.owner.to_string(), shown),
        // With the owner's name, so that no token's name passes for a person's.
        Purpose::Api { .. } => {
            (format!("token:{}", token.id), format!("token {} ({shown})", token.name))
        }
    };
    Ok(identity(id, name, seat, &token.owner))
}

/// A role as it is sent.
pub(crate) fn role_to_wire(role: Role) -> access::Role {
    match role {
        Role::ReadOnly => access::Role::ReadOnly,
        Role::DomainManager => access::Role::DomainManager,
        Role::PlatformAdmin | Role::Service => access::Role::PlatformAdmin,
    }
}

/// A caller as they are told of themselves.
pub(crate) fn identity_of(caller: Caller) -> v1::Identity {
    v1::Identity {
        id: caller.id,
        name: caller.name,
        workspace_id: caller.workspace,
        role: role_to_wire(caller.role).into(),
        domains: caller.domains,
        owner: caller.owner,
    }
}

fn identity(id: String, name: String, seat: Seat, owner: &OwnerId) -> v1::Identity {
    v1::Identity {
        id,
        name,
        workspace_id: seat.workspace.to_string(),
        role: role_to_wire(seat.power.role()).into(),
        domains: seat.power.domains(),
        owner: owner.to_string(),
    }
}

async fn asked(core: &Core, workspace: &str) -> Result<Asked, StoreError> {
    if workspace.is_empty() {
        return Ok(Asked::Own);
    }
    let Ok(id) = workspace.parse() else { return Ok(Asked::Missing) };
    let closed = Workspace::is_closed(core.domains.store().read(), &id).await?;
    Ok(match closed {
        None => Asked::Missing,
        Some(true) => Asked::Closed(id),
        Some(false) => Asked::Open(id),
    })
}
