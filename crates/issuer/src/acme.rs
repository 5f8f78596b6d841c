//! One order at an ACME CA (RFC 8555 section 7.4), from any point on: the CA knows how far it is, and
//! we do what comes next. So the first run and one after a crash are the same code.

use std::time::Duration;

use hosting::Domain;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Identifier, NewOrder,
    Order, OrderStatus,
};
use rcgen::KeyPair;
use tokio::time::{Instant, sleep};

use crate::certificate;
use crate::failure::Failure;

/// After each step the CA is asked again after this, then half as long again each time, up to the
/// longest.
const FIRST_POLL: Duration = Duration::from_millis(250);
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// Then the order makes room for others, and is looked at again later.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for an order; gives the URL where the CA keeps it.
pub(crate) async fn place(account: &Account, domain: &Domain) -> Result<String, Failure> {
    let host = domain.policy_host();
    let names = [Identifier::Dns(host.clone())];
    let order = account.new_order(&NewOrder::new(&names)).await;
    let order = order.map_err(|e| Failure::of(e, &host))?;
    Ok(order.url().to_owned())
}

/// Takes an order to its end, and gives the chain in PEM. Edges have to be ready to answer the
/// challenge.
pub(crate) async fn finish(
    account: &Account,
    url: &str,
    domain: &Domain,
    key: &KeyPair,
) -> Result<String, Failure> {
    let host = domain.policy_host();
    let failure = |e: Error| Failure::of(e, &host);
    let started = Instant::now();
    let mut pause = FIRST_POLL;
    let mut answered = false;
    let mut order = account.order(url.to_owned()).await.map_err(failure)?;
    loop {
        match order.state().status {
            OrderStatus::Pending if !answered => {
                answer(&mut order, &host).await?;
                answered = true;
                pause = FIRST_POLL;
            }
            OrderStatus::Pending | OrderStatus::Processing => {}
            OrderStatus::Ready => {
                let csr = certificate::request(domain, key);
                let csr = csr.map_err(|e| Failure::Ours(e.to_string()))?;
                order.finalize_csr(&csr).await.map_err(failure)?;
                // The answer says how far the order is now.
                if order.state().status == OrderStatus::Valid {
                    continue;
                }
                pause = FIRST_POLL;
            }
            OrderStatus::Valid => {
                let chain = order.certificate().await.map_err(failure)?;
                return chain.ok_or(Failure::Unfinished);
            }
            OrderStatus::Invalid => return Err(why_invalid(&mut order, &host).await),
        }
        if started.elapsed() > PATIENCE {
            return Err(Failure::Unfinished);
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_POLL);
        order.refresh().await.map_err(failure)?;
    }
}

/// Tells the CA that the answer is there (RFC 8555 section 7.5.1), once.
async fn answer(order: &mut Order, host: &str) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|e| Failure::of(e, host))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Err(Failure::refused("the CA offers no validation over HTTP"));
        };
        if challenge.status == ChallengeStatus::Pending {
            challenge.set_ready().await.map_err(|e| match e {
                Error::Api(problem) if problem.status == Some(403) => {
                    Failure::of_validation(&problem, host)
                }
                other => Failure::of(other, host),
            })?;
        }
    }
    Ok(())
}

/// What the CA says of the challenge, or else of the order. One that is invalid without a reason has
/// run out of time.
async fn why_invalid(order: &mut Order, host: &str) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(authorization) = authorization else {
            break;
        };
        let problem = authorization.challenges.iter().find_map(|c| c.error.as_ref());
        if let Some(problem) = problem {
            return Failure::of_validation(problem, host);
        }
    }
    match &order.state().error {
        Some(problem) => Failure::of(Error::Api(problem.clone()), host),
        None => Failure::OrderGone,
    }
}
