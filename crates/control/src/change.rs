//! One change, one transaction: the row and the documents that tell of it.

use audit::{Audit, BeginError, Begun, Record};
use hosting::{
    Claim, ClaimId, Domain, Fresh, Hosting, Kind, Nonce, Refusal, RegionId, State, WorkspaceId,
};
use jiff::Timestamp;
use mta_sts::PolicyId;
use serde_json::{Value, json};
use service::caller::{Call, Caller};
use service::clock::SharedClock;
use store::{Store, StoreError, Write};
use wire::{Message, bus};

use crate::sql::{ClaimRow, Document, Region, VersionRow, Workspace};
use crate::{Signals, identity};

/// Ids that a RecordsDocument tells of, to know an old one from somebody else's.
const FORMER_IDS: i64 = 32;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The product said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The workspace is closed, or there is none.
    #[error(transparent)]
    NotHere(#[from] identity::Refused),
    /// The caller's mark for this change was used for another one, or could not be looked up.
    #[error(transparent)]
    Marked(#[from] BeginError),
    /// The database did not do it.
    #[error("the change could not be stored")]
    Store(#[from] StoreError),
}

impl From<store::sqlx::Error> for ChangeError {
    fn from(error: store::sqlx::Error) -> ChangeError {
        ChangeError::Store(StoreError::Query(error))
    }
}

/// Who asks, and with which call.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    pub(crate) call: Call,
}

impl Asked {
    /// As [`Caller::acting_for`].
    pub(crate) fn acting_for(self, workspace: String) -> Asked {
        Asked { caller: self.caller.acting_for(workspace), ..self }
    }
}

/// Which domain a person's call is about, and whose call it is.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) workspace: WorkspaceId,
    pub(crate) domain: Domain,
    pub(crate) asked: Asked,
}

/// What a change is called in the audit log.
pub(crate) struct Action {
    name: &'static str,
    /// What the caller said that the claim itself does not show; an object.
    said: Value,
}

impl Action {
    pub(crate) fn with(name: &'static str, said: Value) -> Action {
        Action { name, said }
    }
}

impl From<&'static str> for Action {
    fn from(name: &'static str) -> Action {
        Action { name, said: Value::Null }
    }
}

impl Target {
    fn record(&self, action: &str) -> Record {
        let Asked { caller, call } = &self.asked;
        Record::by_call(caller, call, action, self.domain.as_str())
            .in_workspace(self.workspace.as_str())
    }
}

/// Claims and their hosting, as committed.
pub(crate) struct Domains {
    store: Store,
    audit: Audit,
    clock: SharedClock,
    signals: Signals,
}

/// A domain's bucket in its region.
pub(crate) fn policies_bucket(region: &RegionId) -> String {
    format!("policies-{region}")
}

/// The bucket that tells dns what to look for.
pub(crate) const RECORDS_BUCKET: &str = "records";

impl Domains {
    pub(crate) fn new(store: Store, audit: Audit, clock: SharedClock, signals: Signals) -> Domains {
        Domains { store, audit, clock, signals }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// A workspace's claim to a domain.
    pub(crate) async fn find(&self, target: &Target) -> Result<ClaimRow, ChangeError> {
        let row = ClaimRow::find(self.store.read(), &target.workspace, &target.domain).await?;
        Ok(row.ok_or_else(|| not_found(target))?)
    }

    /// Claims a domain for a workspace. Nothing is served by it.
    pub(crate) async fn add(&self, target: &Target, kind: Kind) -> Result<ClaimRow, ChangeError> {
        let Target { workspace, domain, .. } = target;
        let id = fresh_claim_id();
        let nonce = Nonce::from_random(rand::random());
        let claim = Claim::new(id, workspace.clone(), domain.clone(), kind, nonce);

        let mut write = self.store.write().await?;
        if self.audit.begin(&mut write, &target.asked.call).await? == Begun::Done {
            drop(write);
            return self.find(target).await;
        }
        match Workspace::hold(&mut write, workspace, self.store.for_update()).await? {
            Some(false) => {}
            Some(true) => {
                let workspace = workspace.clone();
                return Err(identity::Refused::WorkspaceClosed { workspace }.into());
            }
            None => return Err(identity::Refused::WorkspaceNotFound.into()),
        }
        for region in Region::all(&mut *write).await? {
            let below = format!(".{}", region.host);
            if domain.as_str() == region.host || domain.as_str().ends_with(&below) {
                return Err(Refusal::DomainReserved { domain: domain.clone() }.into());
            }
        }
        if ClaimRow::id_of(&mut *write, workspace, domain).await?.is_some() {
            return Err(Refusal::DomainExists { domain: domain.clone() }.into());
        }
        ClaimRow::ensure_name(&mut write, domain).await?;
        match ClaimRow::insert(&mut write, &claim, self.clock.now()).await {
            // Another call was faster: PostgreSQL lets both look before either writes.
            Err(fault) if fault.is_unique_violation() => {
                return Err(Refusal::DomainExists { domain: domain.clone() }.into());
            }
            inserted => inserted?,
        }
        let record = target.record("domain.add").after(told(&claim));
        self.audit.record(&mut write, record).await?;
        write.commit().await?;
        self.find(target).await
    }

    /// Gives a claim up. The name keeps its revisions and ids.
    pub(crate) async fn remove(&self, target: &Target) -> Result<(), ChangeError> {
        let domain = &target.domain;
        let mut write = self.store.write().await?;
        if self.audit.begin(&mut write, &target.asked.call).await? == Begun::Done {
            return Ok(());
        }
        let row = self.to_change(&mut write, target).await?;
        row.claim.may_remove()?;
        if ClaimRow::owner(&mut write, domain).await?.as_ref() == Some(&row.claim.id) {
            ClaimRow::set_owner(&mut write, domain, None).await?;
        }
        Document::put(&mut write, RECORDS_BUCKET, row.claim.id.as_str(), None).await?;
        ClaimRow::remove(&mut write, &row.claim.id, self.clock.now()).await?;
        let record = target.record("domain.remove").before(told(&row.claim));
        self.audit.record(&mut write, record).await?;
        write.commit().await?;
        self.signals.publish.wake();
        Ok(())
    }

    /// Makes one change that a person asked for, called `action` in the audit log: `decide` is pure,
    /// and sees the claim as nobody else can change it meanwhile. Where it decides for no change,
    /// nothing is written.
    pub(crate) async fn change(
        &self,
        target: &Target,
        action: impl Into<Action>,
        decide: impl FnOnce(&Claim, Fresh) -> Result<Option<Claim>, Refusal> + Send,
    ) -> Result<ClaimRow, ChangeError> {
        let mut write = self.store.write().await?;
        if self.audit.begin(&mut write, &target.asked.call).await? == Begun::Done {
            drop(write);
            return self.find(target).await;
        }
        let row = self.to_change(&mut write, target).await?;
        let fresh = Fresh {
            revision: ClaimRow::next_revision(&mut write, &target.domain).await?,
            policy_id: PolicyId::from_random(rand::random()),
            now: self.clock.now(),
            by: target.asked.caller.name.clone(),
        };
        let Some(claim) = decide(&row.claim, fresh)? else {
            return Ok(row);
        };
        let action = action.into();
        let mut after = told(&claim);
        merge(&mut after, action.said);
        let record = target.record(action.name).before(told(&row.claim)).after(after);
        let after = self.commit(write, &row, claim, vec![record]).await?;
        self.signals.publish.wake();
        self.signals.stop.wake();
        Ok(after)
    }

    /// Makes a change that a loop found due. `decide` may find that it no longer is. Where it changes
    /// the claim, and not just what is known of it, the audit log calls it `action`.
    pub(crate) async fn advance(
        &self,
        id: &ClaimId,
        action: &'static str,
        decide: impl FnOnce(&ClaimRow, Timestamp) -> Option<ClaimRow> + Send,
    ) -> Result<Option<ClaimRow>, ChangeError> {
        let mut write = self.store.write().await?;
        let row = ClaimRow::to_change(&mut write, id, self.store.for_update()).await?;
        let Some(row) = row else { return Ok(None) };
        let Some(next) = decide(&row, self.clock.now()) else { return Ok(None) };
        let changed = (next.claim != row.claim).then(|| by_itself(action, &row.claim, &next.claim));
        let after = self.commit_row(write, &row, next, changed.into_iter().collect()).await?;
        self.signals.publish.wake();
        Ok(Some(after))
    }

    /// The claim is proven now, and with it no other claim to its name. Nothing happens where the
    /// owner is not the one `before` any more, by whom the proof was judged: several claims are looked
    /// at at once, and a zone may show two of them.
    pub(crate) async fn prove(
        &self,
        id: &ClaimId,
        before: Option<&ClaimId>,
    ) -> Result<Option<ClaimRow>, ChangeError> {
        let for_update = self.store.for_update();
        let mut write = self.store.write().await?;
        let Some(row) = ClaimRow::to_change(&mut write, id, for_update).await? else {
            return Ok(None);
        };
        let domain = row.claim.domain.clone();
        let mut records = Vec::new();
        // Claims are locked before names, as in every change.
        let owner = match before.filter(|before| *before != id) {
            Some(before) => ClaimRow::to_change(&mut write, before, for_update).await?,
            None => None,
        };
        if !ClaimRow::pass_on(&mut write, &domain, before, id).await? {
            return Ok(None);
        }
        if let Some(before) = owner {
            // It starts anew, in testing, should the name come back: what it was is out of date.
            let claim = Claim { hosting: None, ..before.claim.superseded() };
            let superseded =
                ClaimRow { claim, announced: None, none_visible_since: None, ..before.clone() };
            superseded.update(&mut write).await?;
            records.push(by_itself("claim.supersede", &before.claim, &superseded.claim));
            self.write_documents(&mut write, &before.claim, &superseded).await?;
        }
        let claim = row.claim.proven(self.clock.now());
        records.push(by_itself("claim.prove", &row.claim, &claim));
        let after = self.commit(write, &row, claim, records).await?;
        self.signals.publish.wake();
        Ok(Some(after))
    }

    /// Writes again what dns is to look for, for the next few claims of a region whose mailbox has
    /// changed; none are left when it gives false.
    pub(crate) async fn rewrite_some_records(
        &self,
        region: &RegionId,
        at_most: i64,
    ) -> Result<bool, StoreError> {
        let mut write = self.store.write().await?;
        let Some(after) = Region::rewriting_after(&mut write, region).await? else {
            return Ok(false);
        };
        let ids = ClaimRow::ids_in_region(&mut write, region, &after, at_most).await?;
        for id in &ids {
            let row = ClaimRow::to_change(&mut write, id, self.store.for_update()).await?;
            if let Some(row) = row {
                self.write_records(&mut write, &row).await?;
            }
        }
        Region::set_rewriting_after(&mut write, region, ids.last()).await?;
        write.commit().await?;
        self.signals.publish.wake();
        Ok(!ids.is_empty())
    }

    async fn to_change(&self, write: &mut Write, target: &Target) -> Result<ClaimRow, ChangeError> {
        let id = ClaimRow::id_of(&mut **write, &target.workspace, &target.domain).await?;
        let id = id.ok_or_else(|| not_found(target))?;
        let row = ClaimRow::to_change(write, &id, self.store.for_update()).await?;
        Ok(row.ok_or_else(|| not_found(target))?)
    }

    async fn commit(
        &self,
        write: Write,
        before: &ClaimRow,
        claim: Claim,
        records: Vec<Record>,
    ) -> Result<ClaimRow, ChangeError> {
        // What was announced or seen belongs to one time of hosting.
        let goes_on = before.claim.hosting.is_some() && claim.hosting.is_some();
        let stopping = matches!(claim.state(), State::Stopping { .. });
        let next = ClaimRow {
            claim,
            created_at: before.created_at,
            announced: before.announced.clone().filter(|_| goes_on),
            found_policy_id: before.found_policy_id.clone(),
            none_visible_since: before.none_visible_since.filter(|_| goes_on && stopping),
        };
        self.commit_row(write, before, next, records).await
    }

    async fn commit_row(
        &self,
        mut write: Write,
        before: &ClaimRow,
        next: ClaimRow,
        records: Vec<Record>,
    ) -> Result<ClaimRow, ChangeError> {
        if let Some(hosting) = &next.claim.hosting
            && Some(hosting.current.revision) != before.claim.revision()
        {
            let claim = &next.claim;
            VersionRow::insert(&mut write, &claim.domain, &claim.id, &hosting.current).await?;
        }
        if let Some(VersionRow { version, announced_at: Some(at), .. }) = &next.announced {
            let domain = &next.claim.domain;
            VersionRow::note_announced(&mut write, domain, version.revision, *at).await?;
        }
        next.update(&mut write).await?;
        self.write_documents(&mut write, &before.claim, &next).await?;
        // Last, since they hold up the other changes of their workspaces until the end.
        self.audit.record_all(&mut write, records).await?;
        write.commit().await?;
        Ok(next)
    }

    async fn write_documents(
        &self,
        write: &mut Write,
        before: &Claim,
        after: &ClaimRow,
    ) -> Result<(), StoreError> {
        self.write_records(write, after).await?;
        let domain = after.claim.domain.as_str();
        // Only the proven claim speaks for the name on the edges.
        if let Some(hosting) = served(before) {
            let stays = served(&after.claim).is_some_and(|now| now.region == hosting.region);
            if !stays {
                Document::put(write, &policies_bucket(&hosting.region), domain, None).await?;
            }
        }
        if let Some(hosting) = served(&after.claim) {
            let document = bus::PolicyDocument {
                domain: domain.to_owned(),
                revision: hosting.current.revision.number(),
                body: hosting.current.body.clone(),
                claim_id: after.claim.id.to_string(),
            };
            let payload = document.encode_to_vec();
            Document::put(write, &policies_bucket(&hosting.region), domain, Some(&payload)).await?;
        }
        Ok(())
    }

    async fn write_records(&self, write: &mut Write, row: &ClaimRow) -> Result<(), StoreError> {
        let key = row.claim.id.as_str();
        match records(write, row).await? {
            None => Document::put(write, RECORDS_BUCKET, key, None).await,
            Some(records) => {
                let payload = records.encode_to_vec();
                Document::put(write, RECORDS_BUCKET, key, Some(&payload)).await
            }
        }
    }
}

fn by_itself(action: &str, before: &Claim, after: &Claim) -> Record {
    Record::by_itself(before.workspace.as_str(), action, before.domain.as_str())
        .before(told(before))
        .after(told(after))
}

/// A claim as the audit log tells of it.
fn told(claim: &Claim) -> Value {
    let hosting = claim.hosting.as_ref().map(|hosting| {
        let version = &hosting.current;
        let mx: Vec<String> = version.policy.mx.iter().map(ToString::to_string).collect();
        json!({
            "region": hosting.region.as_str(),
            "state": hosting.state.as_str(),
            "mode": version.policy.mode.as_str(),
            "revision": version.revision.number(),
            "policyId": version.policy_id.to_string(),
            "mx": mx,
            "maxAgeSeconds": version.policy.max_age_seconds,
        })
    });
    json!({ "kind": claim.kind.as_str(), "proven": claim.is_proven(), "hosting": hosting })
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn not_found(target: &Target) -> Refusal {
    Refusal::DomainNotFound { domain: target.domain.clone() }
}

/// What edges serve of a claim.
fn served(claim: &Claim) -> Option<&Hosting> {
    claim.hosting.as_ref().filter(|_| claim.is_proven())
}

async fn records(
    write: &mut Write,
    row: &ClaimRow,
) -> Result<Option<bus::RecordsDocument>, StoreError> {
    let claim = &row.claim;
    let Some(hosting) = &claim.hosting else { return Ok(None) };
    let Some(region) = Region::find(&mut **write, &hosting.region).await? else {
        return Ok(None);
    };
    let announced = row.announced.as_ref().map(|row| row.version.policy_id.to_string());
    let former = VersionRow::announced_ids(&mut **write, &claim.domain, FORMER_IDS).await?;
    Ok(Some(bus::RecordsDocument {
        claim_id: claim.id.to_string(),
        workspace_id: claim.workspace.to_string(),
        domain: claim.domain.to_string(),
        region_id: region.id.to_string(),
        region_host: region.host,
        nonce: claim.nonce.to_string(),
        former_policy_ids: former.into_iter().filter(|id| Some(id) != announced.as_ref()).collect(),
        policy_id: announced.unwrap_or_default(),
        reports_uri: reports_uri(&region.reports, &claim.nonce),
        proven: claim.is_proven(),
    }))
}

/// `tlsrpt@reports.example` with the claim's nonce as its detail (RFC 5233), so that a report finds
/// its workspace by the nonce and the policy domain both.
fn reports_uri(mailbox: &str, nonce: &Nonce) -> String {
    match mailbox.rsplit_once('@') {
        Some((local, host)) => format!("mailto:{local}+{nonce}@{host}"),
        None => String::new(),
    }
}

fn fresh_claim_id() -> ClaimId {
    // A nonce is letters and digits, which a claim's id may be too.
    let text = Nonce::from_random(rand::random()).to_string();
    text.parse().expect("letters and digits make a claim id")
}
