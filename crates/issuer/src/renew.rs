//! The loop that orders: looks at all names, and does what is missing.
//!
//! First the orders under way, from where a crash or a pause left them; then new ones for names
//! without a certificate or with one that is due.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use service::supervise::{Fault, chain};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tonic::Status;
use tracing::{error, warn};

use crate::Core;
use crate::failure::Failure;
use crate::order::{advance, begin_own, challenge_position};
use crate::schedule::{not_before, outage_pause};
use crate::sql::Due;

/// Without a signal all names are looked at so often.
const TIMER: Duration = Duration::from_secs(5);

/// While control does not answer it is asked so often.
const CONTROL_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// Orders of our own that could go on, for each that may be under way at once: with more of them
/// none is begun.
const READY_PER_PLACE: usize = 4;

/// Looks round after round, until its task is ended.
pub(crate) async fn run(core: Arc<Core>) -> Result<(), Fault> {
    let mut round = Round {
        core,
        at_work: HashSet::new(),
        tasks: JoinSet::new(),
        next_account: Timestamp::MIN,
        refusals: 0,
        next_new: Timestamp::MIN,
    };
    loop {
        round.account().await?;
        let more = round.begin_work().await?;
        tokio::select! {
            // A place that becomes free is only news while there is more to do than places.
            Some(ended) = round.tasks.join_next(), if !round.tasks.is_empty() && more => {
                round.done(ended)?;
            }
            () = round.core.renew.wait(TIMER) => {}
        }
        while let Some(ended) = round.tasks.try_join_next() {
            round.done(ended)?;
        }
    }
}

/// What is under way in this process.
struct Round {
    core: Arc<Core>,
    /// Domains that a task is at.
    at_work: HashSet<String>,
    tasks: JoinSet<Done>,
    /// When an account that could not be made is tried again, and how often it was in vain.
    next_account: Timestamp,
    refusals: i64,
    /// Nothing new is begun before this: control did not answer.
    next_new: Timestamp,
}

/// A task that has ended.
struct Done {
    domain: String,
    control_away: bool,
}

impl Round {
    /// The account is made before anything is ordered with it, so that edges know its thumbprint
    /// when the first order comes.
    async fn account(&mut self) -> Result<(), Fault> {
        let now = self.core.clock.now();
        if now < self.next_account || self.core.authority.thumbprint(&self.core).await?.is_some() {
            return Ok(());
        }
        match self.core.authority.account(&self.core).await {
            Ok(_) => self.refusals = 0,
            Err(failure) => {
                self.refusals += 1;
                let retry_after = match &failure {
                    Failure::Outage { retry_after, .. } => *retry_after,
                    _ => None,
                };
                self.next_account = not_before(now, outage_pause(self.refusals), retry_after);
                warn!(?failure, again = %self.next_account, "there is no account at the CA");
            }
        }
        Ok(())
    }

    /// Fills the free places; says whether there is more to do than places.
    async fn begin_work(&mut self) -> Result<bool, Fault> {
        let now = self.core.clock.now();
        let places = self.core.orders_at_once;
        let look_at = self.at_work.len() + places * (READY_PER_PLACE + 1);
        let orders = self.core.db.under_way(now, look_at).await?;
        for order in orders {
            if self.at_work.contains(&order.domain) {
                continue;
            }
            if self.at_work.len() >= places {
                return Ok(true);
            }
            let core = self.core.clone();
            self.spawn(order.domain, async move { advance(&core, &order.id).await });
        }
        let ready = usize::try_from(self.core.db.own_orders_ready(now).await?);
        if ready.is_ok_and(|ready| ready >= places * READY_PER_PLACE) || now < self.next_new {
            return Ok(false);
        }
        for due in self.due(now).await? {
            if self.at_work.contains(&due.domain) {
                continue;
            }
            if self.at_work.len() >= places {
                return Ok(true);
            }
            let core = self.core.clone();
            self.spawn(due.domain.clone(), async move {
                match begin_own(&core, &due.domain, due.reason).await? {
                    Some(order) => advance(&core, &order).await,
                    None => Ok(()),
                }
            });
        }
        Ok(false)
    }

    /// Names that may be ordered for now: none of a region before its edges can answer the CA.
    async fn due(&self, now: Timestamp) -> Result<Vec<Due>, Fault> {
        let core = &self.core;
        let Some(account) = core.authority.thumbprint(core).await? else {
            return Ok(Vec::new());
        };
        let mut served = Vec::new();
        for region in core.db.regions().await? {
            let Some(passed) = core.edges.passed(&region.id, now) else {
                continue;
            };
            let challenge = challenge_position(core, &region.id, &account).await?;
            if challenge.is_some_and(|challenge| passed.challenges >= challenge) {
                served.push((region.id, passed.policies));
            }
        }
        // A name that moves comes once for each of its two regions.
        let at_most = 2 * (self.at_work.len() + core.orders_at_once);
        Ok(core.db.due(&served, core.authority.name(), now, at_most).await?)
    }

    fn spawn<Work>(&mut self, domain: String, work: Work)
    where
        Work: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        self.at_work.insert(domain.clone());
        self.tasks.spawn(async move {
            let fault = work.await.err();
            // Said once for all of them, below.
            let control_away = fault.as_ref().is_some_and(|fault| fault.is::<Status>());
            if let Some(fault) = fault.filter(|_| !control_away) {
                error!(domain, fault = chain(&*fault), "an order did not go on");
                // Its row could not be written, so the next look would take it again.
                sleep(TIMER).await;
            }
            Done { domain, control_away }
        });
    }

    fn done(&mut self, ended: Result<Done, JoinError>) -> Result<(), Fault> {
        // A panic does not say which domain it was at; the loop starts again and looks at all of them.
        let done = ended?;
        self.at_work.remove(&done.domain);
        let now = self.core.clock.now();
        if done.control_away && self.next_new <= now {
            warn!("control doesn't say what may be ordered, so nothing new is");
            self.next_new = now.saturating_add(CONTROL_PAUSE)?;
        }
        Ok(())
    }
}
