//! What becomes of an order that has not brought a certificate: it waits, or it ends. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::failure::Failure;
use crate::schedule::{not_before, outage_pause, pause};
use crate::sql::{End, Order, Reason, Retry};

/// An owner who asked is told that it failed, when the certificate can't be there after so long.
const REISSUE_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A CA that works on an order for longer has forgotten it.
const CA_PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// Until an order that the CA is still at is looked at again.
const UNFINISHED_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// Until an order that waits for something of ours is looked at again, at the soonest.
pub(crate) const WAIT_PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// Until a domain is looked at again that control would not have a certificate for.
pub(crate) const DENIED_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Why an order does not end here and now with a certificate.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// Something has to happen first.
    Wait {
        why: String,
        until: Option<Timestamp>,
    },
    /// Control does not allow it any more.
    Denied,
    Ca(Failure),
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is looked at again.
    Later {
        until: Timestamp,
        /// Times in a row that the CA did not answer.
        outages: i64,
        why: String,
    },
    End(End),
}

/// Decides; `failures` is how many orders of the name in a row the CA has turned down.
///
/// An owner's order ends as soon as it is clear that it would take too long: somebody waits for it,
/// and may ask again. Our own ones wait as long as it takes.
pub(crate) fn decide(order: &Order, stop: Stop, failures: i64, now: Timestamp) -> Next {
    let by_owner = order.reason == Reason::Reissue;
    let next = match stop {
        Stop::Wait { why, until } => Next::Later {
            until: not_before(now, WAIT_PAUSE, None).max(until.unwrap_or(now)),
            outages: 0,
            why,
        },
        Stop::Denied => {
            let (domain, region) = (&order.domain, &order.region);
            return Next::End(End {
                why: format!("{domain} isn't proven and hosted in {region} any more"),
                validation_failed: false,
                retry: Some(Retry { at: not_before(now, DENIED_PAUSE, None), failures }),
            });
        }
        Stop::Ca(Failure::Refused { why, validation, retry_after }) => {
            let failures = failures + 1;
            let at = not_before(now, pause(failures), retry_after);
            let retry = (!by_owner).then_some(Retry { at, failures });
            return Next::End(End { why, validation_failed: validation, retry });
        }
        Stop::Ca(Failure::Unfinished) if forgotten(order, now) => {
            let why = "the CA did not finish the order within an hour";
            return decide(order, Stop::Ca(Failure::refused(why)), failures, now);
        }
        Stop::Ca(Failure::Unfinished) => {
            let until = not_before(now, UNFINISHED_PAUSE, None);
            return Next::Later { until, outages: 0, why: "the CA is still at it".to_owned() };
        }
        Stop::Ca(Failure::Outage { why, retry_after, .. }) => outage(order, why, retry_after, now),
        Stop::Ca(Failure::OrderGone) => {
            outage(order, "the CA has forgotten the order".to_owned(), None, now)
        }
        Stop::Ca(Failure::AccountGone) => {
            outage(order, "the CA has forgotten our account".to_owned(), None, now)
        }
        Stop::Ca(Failure::Ours(_)) => {
            let told = "something went wrong on our side; it has been logged";
            outage(order, told.to_owned(), None, now)
        }
    };
    match next {
        Next::Later { until, outages, why } if by_owner && ends(order, until, outages) => {
            let retry = None;
            Next::End(End { why: told_to_owner(order, why), validation_failed: false, retry })
        }
        next => next,
    }
}

fn outage(order: &Order, why: String, retry_after: Option<SignedDuration>, now: Timestamp) -> Next {
    let outages = order.outages + 1;
    Next::Later { until: not_before(now, outage_pause(outages), retry_after), outages, why }
}

/// Whether the CA has had its time with an order since it was placed. Not right after an outage, when
/// it may have finished and we could not hear it.
fn forgotten(order: &Order, now: Timestamp) -> bool {
    let placed = order.asked_at.unwrap_or(order.created_at);
    order.outages == 0 && now.duration_since(placed) > CA_PATIENCE
}

/// Whether an owner is told now: the CA could not even be asked, or it takes too long.
fn ends(order: &Order, until: Timestamp, outages: i64) -> bool {
    let unasked = outages > 0 && order.asked_at.is_none();
    unasked || until.duration_since(order.created_at) > REISSUE_PATIENCE
}

fn told_to_owner(order: &Order, why: String) -> String {
    match order.asked_at {
        Some(_) => why,
        None => format!("{why}; this re-issue doesn't count, ask again later"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Question;
    use crate::sql::OrderStep;

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    fn secs(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    fn order(reason: Reason) -> Order {
        Order {
            id: "1".into(),
            domain: "example.com".into(),
            region: "eu-1".into(),
            workspace: "acme".into(),
            reason,
            step: OrderStep::Ordered,
            account: "account".into(),
            order_url: "https://ca.example/order/1".into(),
            sealed_key: None,
            created_at: now() - secs(60),
            asked_at: Some(now() - secs(30)),
            times_asked: 1,
            finished_at: None,
            retry_at: Timestamp::UNIX_EPOCH,
            outages: 0,
            error: String::new(),
            serial: String::new(),
        }
    }

    fn outage(retry_after: Option<i64>) -> Stop {
        let (why, question) = ("it is away".to_owned(), Question::Lost);
        let retry_after = retry_after.map(secs);
        Stop::Ca(Failure::Outage { why, question, retry_after })
    }

    fn wait(until: Option<Timestamp>) -> Stop {
        Stop::Wait { why: "no edge is live".into(), until }
    }

    fn until(next: Next) -> Timestamp {
        match next {
            Next::Later { until, .. } => until,
            Next::End(end) => panic!("it has ended: {}", end.why),
        }
    }

    fn end(next: Next) -> End {
        match next {
            Next::End(end) => end,
            Next::Later { why, .. } => panic!("it still waits: {why}"),
        }
    }

    #[test]
    fn nothing_that_waits_is_looked_at_again_at_once() {
        let order = order(Reason::First);
        let stops = [
            wait(None),
            wait(Some(now() - secs(60))),
            outage(None),
            outage(Some(0)),
            Stop::Ca(Failure::Unfinished),
            Stop::Ca(Failure::OrderGone),
            Stop::Ca(Failure::AccountGone),
            Stop::Ca(Failure::Ours("a key can't be opened".into())),
        ];
        for stop in stops {
            let until = until(decide(&order, stop.clone(), 0, now()));
            assert!(until >= now() + secs(5), "{stop:?}: {until}");
        }
        let later = now() + secs(7200);
        assert_eq!(until(decide(&order, wait(Some(later)), 0, now())), later);
    }

    #[test]
    fn an_owners_order_that_takes_too_long_ends_whether_the_ca_was_asked_or_not() {
        let mut order = order(Reason::Reissue);
        until(decide(&order, wait(None), 0, now()));
        until(decide(&order, outage(None), 0, now()));
        // The end of the pause is known to be too late.
        let ended = end(decide(&order, outage(Some(3600)), 0, now()));
        assert_eq!((ended.why.as_str(), ended.retry), ("it is away", None));
        end(decide(&order, wait(Some(now() + secs(3600))), 0, now()));

        order.created_at = now() - secs(600);
        let ended = end(decide(&order, wait(None), 0, now()));
        assert_eq!(ended.why, "no edge is live");
        order.asked_at = None;
        let ended = end(decide(&order, wait(None), 0, now()));
        assert!(ended.why.ends_with("this re-issue doesn't count, ask again later"));

        order.reason = Reason::Renewal;
        until(decide(&order, wait(None), 0, now()));
    }

    #[test]
    fn only_what_the_ca_turned_down_is_a_failure_of_the_name() {
        let order = order(Reason::Renewal);
        let denied = end(decide(&order, Stop::Denied, 2, now())).retry.unwrap();
        assert_eq!(denied, Retry { at: now() + DENIED_PAUSE, failures: 2 });
        let refused = Stop::Ca(Failure::refused("no"));
        let refused = end(decide(&order, refused, 1, now())).retry.unwrap();
        assert_eq!(refused, Retry { at: now() + secs(600), failures: 2 });
    }

    #[test]
    fn a_rate_limit_ends_the_order_until_the_ca_takes_the_next() {
        let (why, validation) = ("too many".to_owned(), false);
        let limited = Failure::Refused { why, validation, retry_after: Some(secs(7200)) };
        let ended = end(decide(&order(Reason::First), Stop::Ca(limited), 0, now()));
        assert_eq!(ended.retry.unwrap().at, now() + secs(7200));
    }

    #[test]
    fn an_order_is_forgotten_an_hour_after_it_was_placed_and_not_right_after_an_outage() {
        let unfinished = || Stop::Ca(Failure::Unfinished);
        let mut order = order(Reason::First);
        order.created_at = now() - secs(86_400);
        until(decide(&order, unfinished(), 0, now()));
        order.asked_at = Some(now() - secs(3601));
        order.outages = 3;
        until(decide(&order, unfinished(), 0, now()));
        order.outages = 0;
        assert!(end(decide(&order, unfinished(), 0, now())).why.contains("within an hour"));
    }
}
