//! The lives of a bucket: how the loss of its values is noticed.
//!
//! NATS may lose what it has acknowledged: the store is deleted or put back from a backup, a machine
//! dies before its disk has everything, one flipped bit in a block file takes half of a stream with
//! it, and no line in a log says so. The writer has everything in its database and puts it again, if
//! only it knows. So the process that keeps a bucket (all of whose documents it writes) leaves a
//! *mark* in it, a random name for this life that readers are never shown, and a *witness* of it in
//! a bucket of its own, [`WITNESSES`]: how many values there were and where they ended. At each look
//! it compares:
//!
//! | seen | means |
//! | --- | --- |
//! | no mark, no values | a new bucket: mark it |
//! | no mark, but values | the mark was lost, and who knows what with it |
//! | an end before that of the witness, or of this process's own puts | its last values are lost |
//! | fewer values than the witness or this process has seen | values are lost: documents are replaced, never deleted |
//! | a later end | a new witness is due |
//!
//! The witness stands apart because a stream that has lost its end looks as it did at an earlier
//! time: all in it agrees, a count as well.
//!
//! After a loss the keeper empties the bucket, lets its sequences go on far beyond any that was ever
//! used, and marks a new life. Sequences count from the microsecond in which a life began, so they
//! never come again: a reader that goes on where it was gets all of the new life, and so does a leaf's
//! mirror, which otherwise would pass over whatever it believes to have.
//!
//! **What is not noticed**: the loss of puts since the last look, when the writer's process ended,
//! too; a value changed within, where the server's checksum does not see it (readers check
//! signatures); and the whole server put back from a backup while no keeper ran. For the last,
//! operators delete the bucket or call [`renew`](super::NatsBus::renew).

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::{info, warn};

use super::bucket::{Sequences, last_message, put, put_over, stream_of};
use super::link::{Failed, Link, Nothing};
use super::{declare, lock};
use crate::BusError;

/// The bucket of witnesses, one under each kept bucket's name.
pub(super) const WITNESSES: &str = "bus-lives";

/// The mark's key. A service can't put there: `/` can stand in a bucket's key, not in ours.
const MARK: &str = "/life";

/// A loss is believed when it is seen twice: a new leader of a cluster may not know everything in its
/// first moments, and emptying a bucket for nothing costs its writer a refill.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The lives that this process keeps and knows.
pub(super) struct Lives {
    keeps: Vec<String>,
    /// What this process has seen itself.
    known: Mutex<HashMap<String, Witness>>,
}

/// What a bucket looks like.
#[derive(Debug, Clone)]
pub(super) struct Look {
    created: String,
    mark: Option<String>,
    messages: u64,
    /// The sequence written last.
    pub(super) last: u64,
}

/// What a bucket was seen to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Witness {
    /// The mark.
    life: String,
    messages: u64,
    /// The last sequence.
    last: u64,
}

/// What the keeper has to do about a look.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    /// Whole, and more than was witnessed.
    Grown,
    New,
    Lost(String),
}

impl Lives {
    pub(super) fn of(keeps: Vec<String>) -> Lives {
        Lives { keeps, known: Mutex::default() }
    }

    pub(super) fn keeps(&self, bucket: &str) -> bool {
        self.keeps.iter().any(|pattern| declare::matches(pattern, bucket))
    }

    /// Remembers that a put of this process was acknowledged.
    pub(super) fn saw(&self, bucket: &str, sequence: u64) {
        let mut known = lock(&self.known);
        let known = known.entry(bucket.to_owned()).or_default();
        known.last = known.last.max(sequence);
    }

    /// The name of the bucket's life. A keeper begins a new one if values are lost.
    pub(super) async fn generation(
        &self,
        link: &Link,
        sequences: &Sequences,
        bucket: &str,
    ) -> Result<String, Failed> {
        if !self.keeps(bucket) {
            return Ok(look(link, &link.reading, bucket).await?.generation());
        }
        let (mut seen, mut verdict) = self.look(link, bucket).await?;
        if let Verdict::Lost(_) = verdict {
            sleep(LOOK_AGAIN_AFTER).await;
            (seen, verdict) = self.look(link, bucket).await?;
        }
        match verdict {
            Verdict::Whole => {}
            Verdict::Grown => self.witness(link, sequences, bucket, &seen).await?,
            Verdict::New => seen = self.begin_life(link, sequences, bucket).await?,
            Verdict::Lost(why) => {
                warn!(bucket, why, "the bucket has lost values: everything is to be put again");
                seen = self.start_over(link, sequences, bucket, &seen).await?;
            }
        }
        Ok(seen.generation())
    }

    /// Empties a bucket and begins another life.
    pub(super) async fn renew(
        &self,
        link: &Link,
        sequences: &Sequences,
        bucket: &str,
    ) -> Result<(), Failed> {
        let seen = look(link, &link.writing, bucket).await?;
        self.start_over(link, sequences, bucket, &seen).await.map(drop)
    }

    async fn look(&self, link: &Link, bucket: &str) -> Result<(Look, Verdict), Failed> {
        // The witness first: what is written in between makes the bucket more, never less.
        let witness = match last_message(link, &link.writing, WITNESSES, bucket).await {
            Ok(message) => message.and_then(|m| serde_json::from_slice(&m.payload).ok()),
            Err(Failed::Missing) => None,
            Err(failed) => return Err(failed),
        };
        let known = lock(&self.known).get(bucket).cloned();
        let seen = look(link, &link.writing, bucket).await?;
        let verdict = judge(&seen, witness.as_ref(), known.as_ref());
        if matches!(verdict, Verdict::Whole | Verdict::Grown) {
            self.remember(bucket, &seen);
        }
        Ok((seen, verdict))
    }

    async fn start_over(
        &self,
        link: &Link,
        sequences: &Sequences,
        bucket: &str,
        seen: &Look,
    ) -> Result<Look, Failed> {
        #[derive(Serialize)]
        struct UpTo {
            seq: u64,
        }
        #[derive(Deserialize)]
        struct Purged {}
        let first = first_sequence().max(seen.last + 1);
        let call = format!("STREAM.PURGE.{}", stream_of(bucket));
        let Purged {} = link.call(&link.writing, &call, &UpTo { seq: first }).await?;
        self.begin_life(link, sequences, bucket).await
    }

    /// Marks a life, unless another process has just done so, and gives what is there then.
    async fn begin_life(
        &self,
        link: &Link,
        sequences: &Sequences,
        bucket: &str,
    ) -> Result<Look, Failed> {
        let life = format!("{:032x}", rand::random::<u128>());
        let marked = put_over(link, bucket, MARK, life.into(), 0).await?.is_some();
        let seen = look(link, &link.writing, bucket).await?;
        info!(bucket, generation = seen.generation(), marked, "the bucket begins a life");
        self.remember(bucket, &seen);
        self.witness(link, sequences, bucket, &seen).await?;
        Ok(seen)
    }

    async fn witness(
        &self,
        link: &Link,
        sequences: &Sequences,
        bucket: &str,
        seen: &Look,
    ) -> Result<(), Failed> {
        let Ok(witness) = serde_json::to_vec(&seen.witness()) else { return Ok(()) };
        put(link, sequences, WITNESSES, bucket, witness.into()).await.map(drop)
    }

    fn remember(&self, bucket: &str, seen: &Look) {
        let mut known = lock(&self.known);
        let before = known.entry(bucket.to_owned()).or_default();
        let last = before.last.max(seen.last);
        *before = Witness { last, ..seen.witness() };
    }
}

impl Look {
    /// The name of the life: when the stream was made, and the mark.
    pub(super) fn generation(&self) -> String {
        format!("{}/{}", self.created, self.mark.as_deref().unwrap_or("unmarked"))
    }

    fn witness(&self) -> Witness {
        let life = self.mark.clone().unwrap_or_default();
        Witness { life, messages: self.messages, last: self.last }
    }
}

/// What a keeper makes of a look, with what was witnessed and what its process has seen before.
fn judge(seen: &Look, witness: Option<&Witness>, known: Option<&Witness>) -> Verdict {
    let before = || witness.into_iter().chain(known);
    let end = before().map(|before| before.last).max().unwrap_or_default();
    if seen.last < end {
        return Verdict::Lost(format!("it ends at {}, before {end}", seen.last));
    }
    let Some(life) = &seen.mark else {
        return match seen.messages {
            0 => Verdict::New,
            values => Verdict::Lost(format!("{values} values, but no mark")),
        };
    };
    // Of another life only the end says something.
    let most = before().filter(|before| before.life == *life).map(|before| before.messages).max();
    let most = most.unwrap_or_default();
    if seen.messages < most {
        return Verdict::Lost(format!("{} values of {most}", seen.messages));
    }
    match witness {
        Some(witness) if witness.life == *life && witness.last == seen.last => Verdict::Whole,
        _ => Verdict::Grown,
    }
}

/// Looks at a bucket where `api` leads.
pub(super) async fn look(link: &Link, api: &str, bucket: &str) -> Result<Look, Failed> {
    #[derive(Deserialize)]
    struct Info {
        created: String,
        state: State,
    }
    #[derive(Deserialize)]
    struct State {
        messages: u64,
        last_seq: u64,
    }
    let mark = last_message(link, api, bucket, MARK).await?;
    let mark = match mark.map(|message| String::from_utf8(message.payload.into())) {
        None => None,
        Some(Ok(life)) => Some(life),
        // Nobody but a keeper writes here. Not knowing is no loss.
        Some(Err(_)) => {
            let why = format!("the mark of bucket {bucket} can't be read: delete {MARK} in it");
            return Err(Failed::Bus(BusError::Unavailable(why)));
        }
    };
    let call = format!("STREAM.INFO.{}", stream_of(bucket));
    let Info { created, state } = link.call(api, &call, &Nothing {}).await?;
    let State { messages, last_seq: last } = state;
    Ok(Look { created, mark, messages, last })
}

/// Where the sequences of a life that begins now start: microseconds since 1970, which no bucket is
/// written to as often as. They stay below 2^53, which all that reads JSON can count to, until 2255.
pub(super) fn first_sequence() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(mark: Option<&str>, messages: u64, last: u64) -> Look {
        Look { created: "then".into(), mark: mark.map(str::to_owned), messages, last }
    }

    fn seen(life: &str, messages: u64, last: u64) -> Option<Witness> {
        Some(Witness { life: life.into(), messages, last })
    }

    #[test]
    fn a_loss_is_told_from_a_new_bucket_and_from_growth() {
        let check = |look: Look, witness: Option<Witness>, known: Option<Witness>, expected| {
            let verdict = format!("{:?}", judge(&look, witness.as_ref(), known.as_ref()));
            assert!(verdict.starts_with(expected), "{verdict} is not {expected}");
        };
        check(look(None, 0, 9), None, None, "New");
        check(look(None, 0, 9), seen("a", 5, 8), seen("a", 5, 8), "New");
        check(look(None, 3, 9), None, None, "Lost(\"3 values, but no mark");
        check(look(Some("a"), 5, 9), None, None, "Grown");
        check(look(Some("a"), 5, 9), seen("a", 4, 8), None, "Grown");
        check(look(Some("a"), 5, 9), seen("a", 5, 9), None, "Whole");
        check(look(Some("a"), 5, 9), seen("a", 5, 9), seen("a", 5, 9), "Whole");
        check(look(Some("a"), 5, 9), seen("a", 6, 9), None, "Lost(\"5 values of 6");
        check(look(Some("a"), 5, 9), None, seen("a", 6, 9), "Lost(\"5 values of 6");
        check(look(Some("a"), 5, 9), seen("a", 5, 10), None, "Lost(\"it ends at 9, before 10");
        check(look(Some("a"), 5, 9), None, seen("a", 5, 10), "Lost(\"it ends at 9, before 10");
        // Made again by hand, so that its sequences start again.
        check(look(None, 0, 0), seen("a", 5, 9), None, "Lost(\"it ends at 0, before 9");
        // How many values another life had says nothing.
        check(look(Some("b"), 1, 20), seen("a", 5, 9), seen("a", 5, 9), "Grown");
    }

    #[test]
    fn a_generation_names_the_stream_and_the_life() {
        assert_eq!(look(Some("a"), 1, 1).generation(), "then/a");
        assert_eq!(look(None, 0, 0).generation(), "then/unmarked");
    }
}
