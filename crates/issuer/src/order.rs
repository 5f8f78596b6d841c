//! One order, taken as far as it goes now.
//!
//! Before each question to the CA the row says that it will be asked, after it what came of it; the
//! key is stored before the CA hears of it. So a crash at any point costs at most one order that the
//! CA holds and we have forgotten, when it falls between the question and its answer.

use hosting::{Domain, Refusal};
use rcgen::KeyPair;
use service::caller::{Call, Caller};
use service::supervise::{Fault, chain};
use tracing::{error, info, warn};

use crate::Core;
use crate::certificate::{self, Chain};
use crate::failure::{Failure, Question};
use crate::publish::{ACCOUNT_KEY, challenges_bucket};
use crate::schedule::renew_at;
use crate::settle::{DENIED_PAUSE, Next, Stop, decide};
use crate::sql::{NewOrder, Order, OrderStep, Reason, Reissue};

/// A CA that was asked so often for one re-issue, and finished none, is not asked again: each time
/// moves the owner's seven days.
const ASKS_OF_A_REISSUE: i64 = 3;

/// Begins an order of our own, for the region that control names of those that host the domain; none
/// where an owner was faster, or control allows none.
///
/// # Errors
/// A `tonic::Status` when control does not say.
pub(crate) async fn begin_own(
    core: &Core,
    domain: &str,
    reason: Reason,
) -> Result<Option<String>, Fault> {
    for (region, _) in core.db.hosted_in(domain).await? {
        if let Some(workspace) = core.control.authorize(domain, &region).await? {
            let new = new_order(core, domain, &region, workspace, reason)?;
            let begun = core.db.begin(&new, core.clock.now()).await?;
            return Ok(begun.is_ok().then_some(new.id));
        }
    }
    let until = core.clock.now().saturating_add(DENIED_PAUSE)?;
    core.db.pause(domain, until).await?;
    Ok(None)
}

/// Begins an order that somebody asks for, if the domain is their workspace's.
///
/// # Errors
/// A `tonic::Status` when control does not say.
pub(crate) async fn begin_reissue(
    core: &Core,
    domain: &Domain,
    region: &str,
    by: &Caller,
    call: &Call,
) -> Result<Reissue, Fault> {
    let owner = core.control.authorize(domain.as_str(), region).await?;
    let Some(owner) = owner.filter(|owner| *owner == by.workspace) else {
        return Ok(Reissue::Refused(Refusal::NotProven { domain: domain.clone() }));
    };
    let new = NewOrder {
        asked_by: Some(by.id.clone()),
        key_hash: call.once.as_ref().map(|once| once.key_hash),
        ..new_order(core, domain.as_str(), region, owner, Reason::Reissue)?
    };
    Ok(core.db.begin_reissue(&new, by, call, core.clock.now()).await?)
}

/// An order that control has allowed, with a key of its own.
fn new_order(
    core: &Core,
    domain: &str,
    region: &str,
    workspace: String,
    reason: Reason,
) -> Result<NewOrder, Fault> {
    let id = new_id();
    let key = certificate::new_key()?;
    Ok(NewOrder {
        sealed_key: core.kek.seal(&key_place(&id), key.serialized_der())?,
        id,
        domain: domain.to_owned(),
        region: region.to_owned(),
        workspace,
        reason,
        asked_by: None,
        key_hash: None,
    })
}

/// Takes an order as far as it goes now. An order that has ended is left as it is.
pub(crate) async fn advance(core: &Core, id: &str) -> Result<(), Fault> {
    let Some(mut order) = core.db.order(id).await? else {
        return Ok(());
    };
    if matches!(order.step, OrderStep::Issued | OrderStep::Failed) {
        return Ok(());
    }
    // What breaks is ours to mend; until then the order waits, and others go on.
    let went = go_on(core, &mut order).await;
    let went = went.unwrap_or_else(|fault| Err(Stop::Ca(Failure::Ours(chain(&*fault)))));
    let now = core.clock.now();
    match went {
        Ok(chain) => {
            let due = renew_at(&order.domain, chain.not_before.max(now), chain.not_after);
            core.db.issued(&order, core.authority.name(), &chain, due, now).await?;
            info!(domain = order.domain, serial = chain.serial, "has a new certificate");
            core.publish.wake();
            Ok(())
        }
        Err(stop) => settle(core, order, stop).await,
    }
}

/// Where a key is sealed for.
pub(crate) fn key_place(order_id: &str) -> String {
    format!("orders.key:{order_id}")
}

async fn go_on(core: &Core, order: &mut Order) -> Result<Result<Chain, Stop>, Fault> {
    if let Some(stop) = not_allowed(core, order).await {
        return Ok(Err(stop));
    }
    let domain = Domain::parse(&order.domain)?;
    let key = key_of(core, order)?;
    let url = match place(core, order, &domain).await? {
        Ok(url) => url,
        Err(stop) => return Ok(Err(stop)),
    };
    let finished = core.authority.finish(core, &url, &domain, &key).await;
    let checked = finished.and_then(|pem| {
        let checked = certificate::check(&pem, &domain, &key, core.clock.now());
        checked.map_err(|bad| Failure::refused(bad.to_string()))
    });
    Ok(checked.map_err(Stop::Ca))
}

/// Control's word, each time that an order goes on: the claim may have been lost meanwhile.
async fn not_allowed(core: &Core, order: &Order) -> Option<Stop> {
    match core.control.authorize(&order.domain, &order.region).await {
        Ok(Some(workspace)) if workspace == order.workspace => None,
        Ok(_) => Some(Stop::Denied),
        Err(status) => {
            warn!(domain = order.domain, %status, "control doesn't say whether it may be ordered");
            let why = "control doesn't answer, and nothing is ordered without it".to_owned();
            Some(Stop::Wait { why, until: None })
        }
    }
}

/// Where the CA keeps the order; it is asked for one where it has none.
async fn place(
    core: &Core,
    order: &mut Order,
    domain: &Domain,
) -> Result<Result<String, Stop>, Fault> {
    let account = match core.authority.account(core).await {
        Ok(account) => account,
        Err(failure) => return Ok(Err(Stop::Ca(failure))),
    };
    if order.step == OrderStep::Ordered && order.account == account {
        return Ok(Ok(order.order_url.clone()));
    }
    if order.reason == Reason::Reissue && order.times_asked >= ASKS_OF_A_REISSUE {
        let why = format!("the CA was asked {ASKS_OF_A_REISSUE} times and finished no order");
        return Ok(Err(Stop::Ca(Failure::refused(why))));
    }
    if let Some(why) = not_served(core, &order.domain, &order.region, &account).await? {
        return Ok(Err(Stop::Wait { why, until: None }));
    }
    let before = order.clone();
    *order = match core.db.ask(order, core.authority.name(), &account, core.clock.now()).await? {
        Ok(asked) => asked,
        Err(too_many) => {
            let (why, until) = (too_many.to_string(), Some(too_many.until()));
            return Ok(Err(Stop::Wait { why, until }));
        }
    };
    match core.authority.place(core, domain).await {
        Ok(url) => {
            *order = core.db.ordered(order, &url).await?;
            Ok(Ok(url))
        }
        Err(failure) => {
            match &failure {
                Failure::Outage { question: Question::Lost, .. } => {}
                Failure::Outage { question: Question::NotSent, .. } | Failure::Ours(_) => {
                    *order = core.db.unask(order, &before).await?;
                }
                _ => core.db.refund(order).await?,
            }
            Ok(Err(Stop::Ca(failure)))
        }
    }
}

/// What keeps an order for `region` from being asked for; `None` when all edges can answer the CA.
///
/// All live edges of every region that hosts the domain: a CA looks from several places, and during
/// a move some of them still find the region before.
pub(crate) async fn not_served(
    core: &Core,
    domain: &str,
    region: &str,
    account: &str,
) -> Result<Option<String>, Fault> {
    let hosted_in = core.db.hosted_in(domain).await?;
    if !hosted_in.iter().any(|(hosting, _)| hosting == region) {
        return Ok(Some(format!("{region} has no policy for {domain} yet")));
    }
    for (hosting, policy) in hosted_in {
        let passed = match core.edges.passed(&hosting, core.clock.now()) {
            Some(passed) => passed,
            // What no edge serves can't be in the way, but the order's own region has to serve.
            None if hosting != region => continue,
            None => return Ok(Some(format!("no edge of {region} is live"))),
        };
        if passed.policies < policy {
            return Ok(Some(format!("an edge of {hosting} doesn't serve {domain} yet")));
        }
        let Some(challenge) = challenge_position(core, &hosting, account).await? else {
            return Ok(Some(format!("the CA's account isn't published to {hosting} yet")));
        };
        if passed.challenges < challenge {
            return Ok(Some(format!("an edge of {hosting} can't answer the CA yet")));
        }
    }
    Ok(None)
}

/// Where the account's thumbprint stands in the region's challenges; 0 for an authority that asks
/// for no answer.
pub(crate) async fn challenge_position(
    core: &Core,
    region: &str,
    account: &str,
) -> Result<Option<u64>, Fault> {
    if account.is_empty() {
        return Ok(Some(0));
    }
    let document = core.db.document(&challenges_bucket(region), ACCOUNT_KEY).await?;
    let published = document.filter(|document| document.content == account && !document.pending);
    Ok(published.map(|document| document.position))
}

/// Writes down what an order has come to.
async fn settle(core: &Core, mut order: Order, stop: Stop) -> Result<(), Fault> {
    match &stop {
        Stop::Ca(Failure::OrderGone) => {
            warn!(domain = order.domain, "the CA has forgotten the order, it begins again");
            order = core.db.start_again(&order).await?;
        }
        Stop::Ca(Failure::AccountGone) => {
            error!(authority = core.authority.name(), "the CA has forgotten our account");
            core.authority.forget_account(core, &order.account).await?;
            order = core.db.start_again(&order).await?;
        }
        Stop::Ca(Failure::Ours(why)) => error!(domain = order.domain, why, "an order can't go on"),
        _ => {}
    }
    let name = core.db.name(&order.domain).await?;
    let now = core.clock.now();
    match decide(&order, stop, name.failures, now) {
        Next::Later { until, outages, why } => {
            if name.last_error != why {
                info!(domain = order.domain, why, %until, "the order waits");
            }
            core.db.postpone(&order, until, outages, &why).await?;
        }
        Next::End(end) => {
            warn!(domain = order.domain, why = end.why, "the order failed");
            core.db.failed(&order, &end, now).await?;
        }
    }
    Ok(())
}

fn key_of(core: &Core, order: &Order) -> Result<KeyPair, Fault> {
    let sealed = order.sealed_key.as_deref();
    let sealed = sealed.ok_or_else(|| format!("order {} has lost its key", order.id))?;
    let opened = core.kek.open(&key_place(&order.id), sealed).map_err(|e| {
        let domain = &order.domain;
        format!("the key of {domain}'s order can't be opened with issuer.kek: {}", chain(&e))
    })?;
    Ok(certificate::key(&opened)?)
}

/// Twenty-six letters and digits for 128 random bits.
fn new_id() -> String {
    let random: [u8; 16] = rand::random();
    data_encoding::BASE32_NOPAD.encode(&random).to_lowercase()
}
