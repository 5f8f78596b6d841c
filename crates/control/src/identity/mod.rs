//! Who somebody is, and what they may do where: tokens, people, and what both are worth.
//!
//! * **In**: the hash of a token; what the sign-in provider said of a person; rows of members.
//! * **Out**: a workspace and what may be done in it, or a [`Refused`].
//! * **Pure**: `power`, `places`, `tokens` and `texts` decide, and have their tables of cases; the other
//!   files gather what they decide about.
//!
//! Nobody's power is stored with a token: it is found anew for each call, from what the token was made
//! for and what its owner may do now. So a change of a member's role needs no look at their tokens.

mod identify;
mod owner;
mod places;
mod power;
mod refused;
mod seen;
mod sign_in;
mod texts;
mod tokens;

pub(crate) use identify::{Callers, identify, identity_of, role_to_wire};
pub(crate) use owner::{ADMIN, OwnerId, admins_stay, is_admin_token};
pub(crate) use places::{DEFAULT_WORKSPACE, Given, Owner, Places, Purpose};
pub(crate) use power::Power;
pub(crate) use refused::{Failure, Refused};
pub(crate) use seen::note_uses;
pub(crate) use sign_in::{Grant, SignedIn, memberships, sign_in};
pub(crate) use texts::{SUBJECT, asked_role, domains, name, new_workspace, power, who};
pub(crate) use tokens::{Granted, IDLE, Life, MAX_TOKENS, Maker, Standing, Wanted, grant, lasts};
