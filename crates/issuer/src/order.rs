//! One order, taken as far as it goes now.
//!
//! Before each question to the CA the row says that it will be asked, after it what came of it; the
//! key is stored before the CA hears of it. So a crash at any point costs at most one order that the
//! CA holds and we have forgotten, when it falls between the question and its answer.

use hosting::{Domain, Refusal};
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use service::supervise::{Fault, chain};
use tracing::{error, info, warn};

use crate::Core;
use crate::certificate::{self, Chain};
use crate::failure::Failure;
use crate::publish::{ACCOUNT_KEY, challenges_bucket};
use crate::schedule::{not_before, outage_pause, pause, renew_at};
use crate::sql::{End, NewOrder, Order, OrderStep, Reason};

/// An owner who asked is told that it failed, when the CA could not even be asked for so long.
const REISSUE_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A CA that works on an order for longer has forgotten it.
const CA_PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// Until an order that the CA is still at is looked at again.
const UNFINISHED_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// Until a domain is looked at again that control would not have a certificate for.
const DENIED_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Why an order does not end here and now with a certificate.
enum Stop {
    /// Something has to happen first.
    Wait {
        why: String,
        until: Option<Timestamp>,
    },
    /// Control does not allow it any more.
    Denied,
    Ca(Failure),
}

/// What became of the wish for an order.
pub(crate) enum Begun {
    /// It is under way, by this id.
    Order(String),
    /// A rule says no.
    Refused(Refusal),
    /// Control allows none.
    Denied,
}

/// Begins an order of our own, for the region that control names of those that host the domain.
///
/// # Errors
/// A `tonic::Status` when control does not say.
pub(crate) async fn begin_own(core: &Core, domain: &str, reason: Reason) -> Result<Begun, Fault> {
    for (region, _) in core.db.hosted_in(domain).await? {
        match begin(core, domain, &region, reason).await? {
            Begun::Denied => {}
            begun => return Ok(begun),
        }
    }
    let until = core.clock.now().saturating_add(DENIED_PAUSE)?;
    core.db.pause(domain, until).await?;
    Ok(Begun::Denied)
}

/// Begins an order with a key of its own.
///
/// # Errors
/// A `tonic::Status` when control does not say whether it may.
pub(crate) async fn begin(
    core: &Core,
    domain: &str,
    region: &str,
    reason: Reason,
) -> Result<Begun, Fault> {
    let Some(workspace) = core.control.authorize(domain, region).await? else {
        return Ok(Begun::Denied);
    };
    let id = new_id();
    let key = certificate::new_key()?;
    let new = NewOrder {
        sealed_key: core.kek.seal(&key_place(&id), key.serialized_der())?,
        id: id.clone(),
        domain: domain.to_owned(),
        region: region.to_owned(),
        workspace,
        reason,
    };
    match core.db.begin(&new, core.clock.now()).await? {
        Ok(()) => Ok(Begun::Order(id)),
        Err(refusal) => Ok(Begun::Refused(refusal)),
    }
}

/// Takes an order as far as it goes now. An order that has ended is left as it is.
pub(crate) async fn advance(core: &Core, id: &str) -> Result<(), Fault> {
    let Some(order) = core.db.order(id).await? else {
        return Ok(());
    };
    if matches!(order.step, OrderStep::Issued | OrderStep::Failed) {
        return Ok(());
    }
    let went = go_on(core, &order).await?;
    // What has been asked is in the row, not in what was read before.
    let order = core.db.order(id).await?.unwrap_or(order);
    let now = core.clock.now();
    match went {
        Ok(chain) => {
            let due = renew_at(&order.domain, chain.not_before, chain.not_after);
            core.db.issued(&order, core.authority.name(), &chain, due, now).await?;
            info!(domain = order.domain, serial = chain.serial, "has a new certificate");
            core.publish.wake();
            Ok(())
        }
        Err(stop) => settle(core, &order, stop, now).await,
    }
}

/// Where a key is sealed for.
pub(crate) fn key_place(order_id: &str) -> String {
    format!("orders.key:{order_id}")
}

async fn go_on(core: &Core, order: &Order) -> Result<Result<Chain, Stop>, Fault> {
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

/// Where the CA keeps the order; it is asked for one where it has none.
async fn place(core: &Core, order: &Order, domain: &Domain) -> Result<Result<String, Stop>, Fault> {
    let account = match core.authority.account(core).await {
        Ok(account) => account,
        Err(failure) => return Ok(Err(Stop::Ca(failure))),
    };
    if order.step == OrderStep::Ordered && order.account == account {
        return Ok(Ok(order.order_url.clone()));
    }
    match core.control.authorize(&order.domain, &order.region).await {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(Err(Stop::Denied)),
        Err(status) => {
            warn!(domain = order.domain, %status, "control doesn't say whether it may be ordered");
            let why = "control doesn't answer, and nothing is ordered without it".to_owned();
            return Ok(Err(Stop::Wait { why, until: None }));
        }
    }
    if let Some(why) = not_served(core, &order.domain, &order.region, &account).await? {
        return Ok(Err(Stop::Wait { why, until: None }));
    }
    let now = core.clock.now();
    let asked = core.db.ask(order, core.authority.name(), &account, now).await?;
    if let Err(too_many) = asked {
        let (why, until) = (too_many.to_string(), Some(too_many.until()));
        return Ok(Err(Stop::Wait { why, until }));
    }
    match core.authority.place(core, domain).await {
        Ok(url) => {
            core.db.ordered(&order.id, &url).await?;
            Ok(Ok(url))
        }
        Err(failure) => {
            if matches!(failure, Failure::Outage { reached: false, .. }) {
                core.db.unask(order, now).await?;
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
async fn settle(core: &Core, order: &Order, stop: Stop, now: Timestamp) -> Result<(), Fault> {
    let unasked = order.asked_at.is_none();
    let by_owner = order.reason == Reason::Reissue;
    match stop {
        Stop::Wait { why, .. } if by_owner && unasked && waited_long(order, now) => {
            fail(core, order, uncounted(&why), now).await
        }
        Stop::Wait { why, until } => {
            if core.db.name(&order.domain).await?.last_error != why {
                info!(domain = order.domain, why, "the order waits");
            }
            // At once, but after all others that wait.
            Ok(core.db.postpone(order, until.unwrap_or(now), 0, &why).await?)
        }
        Stop::Denied => {
            let why =
                format!("{} isn't proven and hosted in {} any more", order.domain, order.region);
            let end = End {
                retry_at: Some(now.saturating_add(DENIED_PAUSE)?),
                unasked,
                validation_failed: false,
                why,
            };
            fail(core, order, end, now).await
        }
        Stop::Ca(failure) => settle_failure(core, order, failure, now).await,
    }
}

async fn settle_failure(
    core: &Core,
    order: &Order,
    failure: Failure,
    now: Timestamp,
) -> Result<(), Fault> {
    let unasked = order.asked_at.is_none();
    let by_owner = order.reason == Reason::Reissue;
    match failure {
        Failure::Outage { why, .. } if by_owner && unasked => {
            fail(core, order, uncounted(&why), now).await
        }
        Failure::Outage { why, retry_after, .. } => {
            let outages = order.outages + 1;
            let until = not_before(now, outage_pause(outages), retry_after);
            warn!(domain = order.domain, why, %until, "the order waits for the CA");
            Ok(core.db.postpone(order, until, outages, &why).await?)
        }
        Failure::Refused { why, validation, retry_after } => {
            let failures = core.db.name(&order.domain).await?.failures + 1;
            let end = End {
                why,
                validation_failed: validation,
                unasked: false,
                retry_at: (!by_owner).then(|| not_before(now, pause(failures), retry_after)),
            };
            fail(core, order, end, now).await
        }
        Failure::Unfinished
            if order.asked_at.is_some_and(|at| now.duration_since(at) > CA_PATIENCE) =>
        {
            let why = "the CA did not finish the order within an hour".to_owned();
            let failures = core.db.name(&order.domain).await?.failures + 1;
            let end = End {
                why,
                validation_failed: false,
                unasked: false,
                retry_at: (!by_owner).then(|| not_before(now, pause(failures), None)),
            };
            fail(core, order, end, now).await
        }
        Failure::Unfinished => {
            let until = now.saturating_add(UNFINISHED_PAUSE)?;
            Ok(core.db.postpone(order, until, 0, "the CA is still at it").await?)
        }
        Failure::OrderGone => {
            warn!(domain = order.domain, "the CA has forgotten the order, it begins again");
            again(core, order, now, "the CA has forgotten the order").await
        }
        Failure::AccountGone => {
            error!(authority = core.authority.name(), "the CA has forgotten our account");
            if let Err(failure) = core.authority.forget_account(core).await {
                return Err(format!("the account can't be forgotten: {failure:?}").into());
            }
            again(core, order, now, "the CA has forgotten our account").await
        }
        Failure::Ours(why) => {
            error!(domain = order.domain, why, "an order can't go on");
            let outages = order.outages + 1;
            let until = not_before(now, outage_pause(outages), None);
            let told = "something went wrong on our side; it has been logged";
            Ok(core.db.postpone(order, until, outages, told).await?)
        }
    }
}

async fn again(core: &Core, order: &Order, now: Timestamp, why: &str) -> Result<(), Fault> {
    core.db.start_again(&order.id).await?;
    let outages = order.outages + 1;
    let until = not_before(now, outage_pause(outages), None);
    Ok(core.db.postpone(order, until, outages, why).await?)
}

async fn fail(core: &Core, order: &Order, end: End, now: Timestamp) -> Result<(), Fault> {
    warn!(domain = order.domain, why = end.why, "the order failed");
    Ok(core.db.failed(order, &end, now).await?)
}

/// The end of an owner's order for which the CA was never asked.
fn uncounted(why: &str) -> End {
    End {
        why: format!("{why}; this re-issue doesn't count, ask again later"),
        validation_failed: false,
        unasked: true,
        retry_at: None,
    }
}

fn waited_long(order: &Order, now: Timestamp) -> bool {
    now.duration_since(order.created_at) > REISSUE_PATIENCE
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
