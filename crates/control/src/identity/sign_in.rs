//! A person whom the sign-in provider has vouched for becomes a caller.

use std::collections::BTreeMap;

use audit::Record;
use hosting::{Domain, Nonce, WorkspaceId};
use jiff::Timestamp;
use serde_json::{Value, json};
use service::caller::{Call, Caller, Role};
use service::config::Secret;
use service::token::Token;
use store::{StoreError, Write};
use tonic::Status;
use wire::control as v1;

use super::identify::role_to_wire;
use super::owner::OwnerId;
use super::places::{Places, Purpose};
use super::power::Power;
use super::refused::{Failure, Refused};
use super::texts::{cleaned, email, is_subject};
use super::tokens::{Life, SIGN_IN_LASTS};
use crate::Core;
use crate::sql::{Person, TokenRow, Workspace};

/// What the sign-in provider said of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedIn {
    /// The provider, as its own tokens name it.
    pub(crate) issuer: String,
    /// The provider's own name for the person, which never passes to somebody else.
    pub(crate) subject: String,
    /// An address that the provider has verified, lower case.
    pub(crate) email: Option<String>,
    /// For people.
    pub(crate) name: String,
    /// What the provider's claims are worth here.
    pub(crate) granted: Vec<Grant>,
}

/// A role that the provider's claims give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Where. A Platform admin is one everywhere, and here first.
    pub(crate) workspace: WorkspaceId,
    /// What.
    pub(crate) role: Role,
    /// For a Domain manager: only these; empty: all of the workspace.
    pub(crate) domains: Vec<Domain>,
}

/// A sign-in that has worked.
#[derive(Debug)]
pub(crate) struct NewSignIn {
    /// Shown this once.
    pub(crate) token: Secret,
    /// When it ends at the latest.
    pub(crate) expires_at: Timestamp,
    /// Who signed in.
    pub(crate) name: String,
    /// Their workspaces.
    pub(crate) memberships: Vec<v1::Membership>,
}

/// A person has so many sign-ins at most: more browsers and machines than anybody uses in a week.
const MAX_SIGN_INS: usize = 50;

/// Makes a token of kind sign-in for a person.
///
/// What the provider gives them replaces what it gave before, also where that is nothing: then their
/// older tokens, too, are good for nothing from now on.
///
/// # Errors
/// `NO_ROLE` where neither members nor the provider give them anything.
pub(crate) async fn sign_in(
    core: &Core,
    signed_in: SignedIn,
    call: &Call,
) -> Result<NewSignIn, Status> {
    Ok(enter(core, signed_in, call).await?)
}

async fn enter(core: &Core, signed_in: SignedIn, call: &Call) -> Result<NewSignIn, Failure> {
    let now = core.clock.now();
    let person = person(&signed_in)?;
    let fresh = person.id.clone();

    let mut write = core.domains.store().write().await?;
    let person = person.put(&mut write, now).await?;
    let owner = OwnerId::Person(person.id.clone());
    let granted = grants(core, &mut write, signed_in.granted).await?;
    let changes = replace(&mut write, &person, &granted, now).await?;
    let places = Places::of(person.given(&mut *write).await?);
    let seat = places.first().and_then(|home| Some((home.clone(), places.power_in(home)?)));
    let caller = caller(&person, &owner, seat.as_ref());
    let mut records = recorded(&person, &caller, call, &changes);
    let Some((home, _)) = seat else {
        // Of somebody who was never here, nothing is kept.
        if person.id != fresh {
            core.audit.record_all(&mut write, records).await?;
            write.commit().await?;
        }
        return Err(Refused::NoRole.into());
    };

    let token = Token::make(rand::random());
    let expires_at = now.saturating_add(SIGN_IN_LASTS).unwrap_or(Timestamp::MAX);
    for id in too_many(TokenRow::sign_ins(&mut write, &owner, now).await?) {
        TokenRow::revoke(&mut write, &id, now, "a newer sign-in").await?;
        records.push(Record::by_call(&caller, call, "token.revoke", &id));
    }
    let row = TokenRow {
        id: token.id().to_owned(),
        name: call.from.map_or("sign-in".to_owned(), |from| format!("sign-in from {from}")),
        purpose: Purpose::SignIn,
        owner,
        made_with: String::new(),
        life: Life {
            is_sign_in: true,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        },
        revoked_by: String::new(),
    };
    row.insert(&mut write, &token.hash()).await?;
    let made = Record::by_call(&caller, call, "token.create", &row.id).in_workspace(home.as_str());
    records.push(made.after(json!({
        "kind": "sign-in",
        "name": &row.name,
        "owner": row.owner.to_string(),
        "expiresAt": expires_at.to_string(),
    })));
    core.audit.record_all(&mut write, records).await?;
    write.commit().await?;
    Ok(NewSignIn {
        token: Secret::new(token.expose().to_owned()),
        expires_at,
        name: person.shown(),
        memberships: memberships(&places),
    })
}

/// The places of somebody, as they are told of them.
pub(crate) fn memberships(places: &Places) -> Vec<v1::Membership> {
    let open = places.open().map(|(workspace, place)| v1::Membership {
        workspace_id: workspace.to_string(),
        workspace_name: place.name.clone(),
        role: role_to_wire(place.power.role()).into(),
        domains: place.power.domains(),
    });
    open.collect()
}

fn person(signed_in: &SignedIn) -> Result<Person, Refused> {
    // A name that can't be shown could not be made a member either.
    if !is_subject(&signed_in.subject) {
        return Err(Refused::NoRole);
    }
    Ok(Person {
        // A nonce is letters and digits, more than enough to be nobody else's.
        id: Nonce::from_random(rand::random()).to_string(),
        issuer: signed_in.issuer.clone(),
        subject: signed_in.subject.clone(),
        email: signed_in.email.as_deref().and_then(email),
        name: cleaned(&signed_in.name),
    })
}

/// What the provider gives, by workspace. What it gives in a workspace that is not there or closed is
/// nothing: an operator may map claims before the workspace is added.
async fn grants(
    core: &Core,
    write: &mut Write,
    granted: Vec<Grant>,
) -> Result<BTreeMap<WorkspaceId, Power>, StoreError> {
    let mut powers: BTreeMap<WorkspaceId, Power> = BTreeMap::new();
    for Grant { workspace, role, domains } in granted {
        let power = Power::new(role, domains);
        let power = match powers.remove(&workspace) {
            Some(before) => before.or(power),
            None => power,
        };
        powers.insert(workspace, power);
    }
    let mut open = BTreeMap::new();
    for (workspace, power) in powers {
        let for_update = core.domains.store().for_update();
        if Workspace::hold(write, &workspace, for_update).await? == Some(false) {
            open.insert(workspace, power);
        }
    }
    Ok(open)
}

/// A workspace in which the provider gives something else than before: that, and what it gives now.
type Change = (WorkspaceId, Option<Power>, Option<Power>);

async fn replace(
    write: &mut Write,
    person: &Person,
    granted: &BTreeMap<WorkspaceId, Power>,
    now: Timestamp,
) -> Result<Vec<Change>, StoreError> {
    let mut before: BTreeMap<WorkspaceId, Power> =
        person.granted(write).await?.into_iter().collect();
    let mut changes = Vec::new();
    for (workspace, power) in granted {
        let was = before.remove(workspace);
        if was.as_ref() != Some(power) {
            person.grant(write, workspace, power, now).await?;
            changes.push((workspace.clone(), was, Some(power.clone())));
        }
    }
    for (workspace, power) in before {
        person.withdraw(write, &workspace).await?;
        changes.push((workspace, Some(power), None));
    }
    Ok(changes)
}

fn recorded(person: &Person, caller: &Caller, call: &Call, changes: &[Change]) -> Vec<Record> {
    let record = |(workspace, before, after): &Change| {
        let action = match (before, after) {
            (None, _) => "member.add",
            (Some(_), Some(_)) => "member.change",
            (Some(_), None) => "member.remove",
        };
        let record = Record::by_call(caller, call, action, &person.shown());
        let record = record.in_workspace(workspace.as_str());
        let record = match before {
            Some(power) => record.before(of_provider(power)),
            None => record,
        };
        match after {
            Some(power) => record.after(of_provider(power)),
            None => record,
        }
    };
    changes.iter().map(record).collect()
}

fn of_provider(power: &Power) -> Value {
    let mut recorded = power.recorded();
    recorded["source"] = json!("provider");
    recorded
}

fn caller(person: &Person, owner: &OwnerId, seat: Option<&(WorkspaceId, Power)>) -> Caller {
    let (workspace, power) = match seat {
        Some((workspace, power)) => (workspace.to_string(), power.clone()),
        None => (String::new(), Power::ReadOnly),
    };
    Caller {
        id: owner.to_string(),
        name: person.shown(),
        workspace,
        role: power.role(),
        domains: power.domains(),
        owner: owner.to_string(),
    }
}

/// Those sign-ins that make room for one more: the ones not used for longest.
fn too_many(mut sign_ins: Vec<String>) -> Vec<String> {
    let room = MAX_SIGN_INS.saturating_sub(1);
    sign_ins.truncate(sign_ins.len().saturating_sub(room));
    sign_ins
}
