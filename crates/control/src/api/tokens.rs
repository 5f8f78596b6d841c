//! API tokens and sign-ins.

use std::collections::HashMap;

use audit::{Begun, Record};
use hosting::{Domain, WorkspaceId};
use jiff::Timestamp;
use serde_json::{Value, json};
use service::access::{bearer, token_hash};
use service::caller::{Caller, Role};
use service::token::Token;
use store::Write;
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::token_service_server::TokenService;
use wire::time::to_wire;
use wire::{access, status};

use super::workspaces::hold_open;
use super::{Api, asked, broken, page_size, workspace};
use crate::Core;
use crate::change::Asked;
use crate::identity::{
    self, Failure, Granted, Life, MAX_TOKENS, Maker, Owner, OwnerId, Power, Purpose, Refused,
    Standing, Wanted, asked_role, domains, is_admin_token, lasts, name, role_to_wire,
};
use crate::sql::{Own, TokenPage, TokenRow, View};

/// A revocation of everything that was made with a token ends so many of them in one go, and looks
/// again until none is left.
const ENDED_AT_ONCE: i64 = 1000;
/// Looks: with what one leaves over, far more tokens than one owner can have.
const MAX_LOOKS: usize = 100;
/// What was made with a token is counted up to this.
const COUNTED: i64 = 10_000;

#[tonic::async_trait]
impl TokenService for Api {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let asked = asked(&request)?;
        let made_with = self.made_with(&asked.caller, &request).await?;
        let request = request.into_inner();
        let name = name("name", &request.name)?;
        let role = asked_role(request.role)?;
        let wanted = Wanted {
            role,
            domains: domains(role.unwrap_or(Role::ReadOnly), &request.domains)?,
            lasts: lasts(request.expires_after_seconds)?,
        };
        let maker = Maker { power: power(&asked.caller)?, ends: made_with.ends() };
        let granted = identity::grant(&wanted, &maker, self.core.clock.now())?;

        let token = Token::make(rand::random());
        let row = row(&token, name, &asked.caller, &made_with, granted, self.core.clock.now())?;
        create(&self.core, &asked, &token, &row).await?;
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(self.shown_token(&row).await?),
            secret: token.expose().to_owned(),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let caller = asked(&request)?.caller;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let list = ["ListTokens", if request.all { "all" } else { "active" }];
        let place = self.place(&caller, &list, &request.page_token)?;
        let page = TokenPage {
            after: place.as_deref().map(after).transpose()?,
            // One more than asked for tells whether there is another page.
            limit: size + 1,
            all: request.all,
            now: self.core.clock.now(),
        };
        let rows = TokenRow::list(self.core.domains.store().read(), &view(&caller)?, &page).await;
        let mut rows = rows.map_err(|e| broken(&e))?;
        let size = usize::try_from(size).unwrap_or(1);
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more).map(place_of);
        let next_page_token = self.page_token(&caller, &list, last.as_deref());
        let items = self.shown_tokens(&rows).await?;
        Ok(Response::new(v1::ListTokensResponse { items, next_page_token }))
    }

    async fn get_token(
        &self,
        request: Request<v1::GetTokenRequest>,
    ) -> Result<Response<v1::GetTokenResponse>, Status> {
        let caller = asked(&request)?.caller;
        let row = self.token(&caller, &request.into_inner().id).await?;
        Ok(Response::new(v1::GetTokenResponse { token: Some(self.shown_token(&row).await?) }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let asked = asked(&request)?;
        let row = match request.get_ref().id.as_str() {
            "" if is_admin_token(&asked.caller) => {
                let why = "the token in use is in the configuration, [control] admin_token: change \
                           it there, and start again";
                return Err(Refused::invalid("id", why).into());
            }
            "" => self.in_use(&request).await?,
            id => self.token(&asked.caller, id).await?,
        };
        let with_tree = request.into_inner().made_with_it_too;
        let left = revoke(&self.core, &asked, &row, with_tree).await?;
        let found = TokenRow::of_id(self.core.domains.store().read(), &row.id).await;
        let row = found.map_err(|e| broken(&e))?.unwrap_or(row);
        Ok(Response::new(v1::RevokeTokenResponse {
            token: Some(self.shown_token(&row).await?),
            still_active_made_with_it: left,
        }))
    }
}

/// With what a token is made.
enum MadeWith {
    /// The token in the configuration.
    Admin,
    Token(Box<TokenRow>),
}

impl MadeWith {
    /// When the API token ends that it is.
    fn ends(&self) -> Option<Timestamp> {
        match self {
            MadeWith::Token(row) if !row.life.is_sign_in => Some(row.life.expires_at),
            MadeWith::Token(_) | MadeWith::Admin => None,
        }
    }

    fn id(&self) -> &str {
        match self {
            MadeWith::Token(row) => &row.id,
            MadeWith::Admin => identity::ADMIN,
        }
    }

    fn owner(&self) -> OwnerId {
        match self {
            MadeWith::Token(row) => row.owner.clone(),
            MadeWith::Admin => OwnerId::Admin,
        }
    }
}

impl Api {
    /// The token that a call is made with.
    pub(super) async fn in_use<T>(&self, request: &Request<T>) -> Result<TokenRow, Failure> {
        let token = bearer(request.metadata().as_ref()).ok_or(Refused::TokenRequired)?;
        let pool = self.core.domains.store().read();
        let row = TokenRow::of_hash(pool, &token_hash(token)).await?;
        Ok(row.ok_or(Refused::TokenInvalid)?)
    }

    async fn made_with<T>(
        &self,
        caller: &Caller,
        request: &Request<T>,
    ) -> Result<MadeWith, Failure> {
        if caller.role == Role::Service {
            return Err(Refused::NotAPerson.into());
        }
        if is_admin_token(caller) {
            return Ok(MadeWith::Admin);
        }
        Ok(MadeWith::Token(Box::new(self.in_use(request).await?)))
    }

    /// A token that a caller may see.
    async fn token(&self, caller: &Caller, id: &str) -> Result<TokenRow, Status> {
        let found = TokenRow::find(self.core.domains.store().read(), id, &view(caller)?).await;
        Ok(found.map_err(|e| broken(&e))?.ok_or(Refused::TokenNotFound)?)
    }

    async fn shown_token(&self, row: &TokenRow) -> Result<v1::Token, Failure> {
        let (owner, name) = row.owner.find(self.core.domains.store().read()).await?;
        Ok(shown(row, &owner, &name, self.core.clock.now()))
    }

    /// What their owners may do is found once for each of them.
    async fn shown_tokens(&self, rows: &[TokenRow]) -> Result<Vec<v1::Token>, Failure> {
        let mut owners = HashMap::new();
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            if !owners.contains_key(&row.owner) {
                let found = row.owner.find(self.core.domains.store().read()).await?;
                owners.insert(row.owner.clone(), found);
            }
            if let Some((owner, name)) = owners.get(&row.owner) {
                items.push(shown(row, owner, name, self.core.clock.now()));
            }
        }
        Ok(items)
    }
}

async fn create(core: &Core, asked: &Asked, token: &Token, row: &TokenRow) -> Result<(), Failure> {
    let store = core.domains.store();
    let mut write = store.write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Err(Refused::TokenShownOnce.into());
    }
    let workspace = in_workspace(row, &asked.caller)?;
    hold_open(core, &mut write, &workspace).await?;
    if row.made_with != identity::ADMIN {
        // A revocation waits, or has been: nothing is made with a token after its end.
        let life = TokenRow::hold(&mut write, &row.made_with, store.for_update()).await?;
        let active = life.is_some_and(|life| life.standing(core.clock.now()) == Standing::Active);
        if !active {
            return Err(Refused::TokenInvalid.into());
        }
    }
    if TokenRow::active(&mut write, &workspace, core.clock.now()).await? >= MAX_TOKENS {
        return Err(Refused::TooManyTokens { limit: MAX_TOKENS }.into());
    }
    row.insert(&mut write, &token.hash()).await?;
    let record = Record::by_call(&asked.caller, &asked.call, "token.create", &row.id);
    core.audit.record(&mut write, record.after(recorded(row))).await?;
    Ok(write.commit().await?)
}

/// Ends a token, and on request all that was made with it; gives how many of those are still taken.
async fn revoke(
    core: &Core,
    asked: &Asked,
    row: &TokenRow,
    with_tree: bool,
) -> Result<u64, Failure> {
    let now = core.clock.now();
    let mut write = core.domains.store().write().await?;
    let mut records = Vec::new();
    if core.audit.begin(&mut write, &asked.call).await? == Begun::First {
        records.extend(end(&mut write, asked, row, now).await?);
        if with_tree {
            records.extend(end_tree(&mut write, asked, row, now).await?);
        }
    }
    let left = TokenRow::made_with(&mut write, &row.id, now, COUNTED).await?.len();
    if !records.is_empty() {
        core.audit.record_all(&mut write, records).await?;
        write.commit().await?;
    }
    Ok(u64::try_from(left).unwrap_or(u64::MAX))
}

/// Whatever is made meanwhile with one of them is found by the next look, and nothing can be made with
/// one that has ended.
async fn end_tree(
    write: &mut Write,
    asked: &Asked,
    row: &TokenRow,
    now: Timestamp,
) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    for _ in 0..MAX_LOOKS {
        let found = TokenRow::made_with(write, &row.id, now, ENDED_AT_ONCE).await?;
        if found.is_empty() {
            break;
        }
        for id in found {
            if let Some(row) = TokenRow::of_id(&mut **write, &id).await? {
                records.extend(end(write, asked, &row, now).await?);
            }
        }
    }
    Ok(records)
}

/// In the chain of the token's own workspace; a sign-in has none.
async fn end(
    write: &mut Write,
    asked: &Asked,
    row: &TokenRow,
    now: Timestamp,
) -> Result<Option<Record>, Failure> {
    if !TokenRow::revoke(write, &row.id, now, &asked.caller.name).await? {
        return Ok(None);
    }
    let workspace = in_workspace(row, &asked.caller)?;
    let record = Record::by_call(&asked.caller, &asked.call, "token.revoke", &row.id);
    Ok(Some(record.in_workspace(workspace.as_str()).before(recorded(row))))
}

fn in_workspace(row: &TokenRow, caller: &Caller) -> Result<WorkspaceId, Refused> {
    match &row.purpose {
        Purpose::Api { workspace, .. } => Ok(workspace.clone()),
        Purpose::SignIn => caller.workspace.parse().map_err(|_| Refused::WorkspaceNotFound),
    }
}

fn row(
    token: &Token,
    name: String,
    caller: &Caller,
    made_with: &MadeWith,
    Granted { power, expires_at }: Granted,
    now: Timestamp,
) -> Result<TokenRow, Status> {
    let workspace = workspace(&caller.workspace)?;
    Ok(TokenRow {
        id: token.id().to_owned(),
        name,
        purpose: Purpose::Api { workspace, closed: false, power },
        owner: made_with.owner(),
        made_with: made_with.id().to_owned(),
        life: Life {
            is_sign_in: false,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        },
        revoked_by: String::new(),
    })
}

/// What a caller may do in this call.
fn power(caller: &Caller) -> Result<Power, Status> {
    let named = caller.domains.iter().map(|name| Domain::stored(name));
    let named: Result<Vec<Domain>, _> = named.collect();
    // What can't be read as a name must not read as no limit.
    Ok(Power::new(caller.role, named.map_err(|_| status::internal())?))
}

fn view(caller: &Caller) -> Result<View, Status> {
    let own = match caller.id.strip_prefix("token:") {
        Some(token) => Own::MadeWith(token.to_owned()),
        None => Own::OwnedBy(caller.owner.clone()),
    };
    Ok(View {
        workspace: workspace(&caller.workspace)?,
        own,
        everybodys: caller.role >= Role::PlatformAdmin,
    })
}

fn place_of(row: &TokenRow) -> String {
    format!("{} {}", row.life.created_at.as_millisecond(), row.id)
}

/// We have sealed it: it is as [`place_of`] wrote it.
fn after(place: &str) -> Result<(Timestamp, String), Status> {
    let read = || {
        let (millis, id) = place.split_once(' ')?;
        Some((Timestamp::from_millisecond(millis.parse().ok()?).ok()?, id.to_owned()))
    };
    read().ok_or_else(|| status::invalid("page_token", "start again without one"))
}

fn recorded(row: &TokenRow) -> Value {
    let mut recorded = match &row.purpose {
        Purpose::Api { power, .. } => power.recorded(),
        Purpose::SignIn => json!({}),
    };
    recorded["kind"] = json!(if row.life.is_sign_in { "sign-in" } else { "api" });
    recorded["name"] = json!(row.name);
    recorded["owner"] = json!(row.owner.to_string());
    recorded["madeWith"] = json!(row.made_with);
    recorded["expiresAt"] = json!(row.life.expires_at.to_string());
    recorded
}

/// `owner` and `name` are those of the token's owner.
fn shown(row: &TokenRow, owner: &Owner, name: &str, now: Timestamp) -> v1::Token {
    let (kind, workspace, power) = match &row.purpose {
        Purpose::SignIn => {
            let first = match owner {
                Owner::Person(places) => places.first().cloned(),
                Owner::Admin => None,
            };
            let power = first.as_ref().and_then(|workspace| owner.power_in(workspace));
            (v1::TokenKind::SignIn, first, power)
        }
        Purpose::Api { workspace, closed, power } => {
            let owners = owner.power_in(workspace).filter(|_| !closed);
            let power = owners.map(|owners| owners.and(power.clone()));
            (v1::TokenKind::Api, Some(workspace.clone()), power)
        }
    };
    let state = match row.life.standing(now) {
        Standing::Active => v1::TokenState::Active,
        Standing::Expired => v1::TokenState::Expired,
        Standing::Revoked => v1::TokenState::Revoked,
    };
    // Good for nothing: its owner has no role there any more.
    let role = power.as_ref().map_or(access::Role::Unspecified, |power| role_to_wire(power.role()));
    v1::Token {
        id: row.id.clone(),
        name: row.name.clone(),
        kind: kind.into(),
        state: state.into(),
        workspace_id: workspace.map(|workspace| workspace.to_string()).unwrap_or_default(),
        role: role.into(),
        domains: power.map(|power| power.domains()).unwrap_or_default(),
        owner: name.to_owned(),
        made_with: row.made_with.clone(),
        created_at: Some(to_wire(row.life.created_at)),
        expires_at: Some(to_wire(row.life.expires_at)),
        last_used_at: row.life.last_used_at.map(to_wire),
        revoked_at: row.life.revoked_at.map(to_wire),
        revoked_by: row.revoked_by.clone(),
    }
}
