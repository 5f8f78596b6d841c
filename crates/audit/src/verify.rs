//! Whether the chains are as they were written.

use store::StoreError;

use crate::Audit;
use crate::chain::{Hash, Head, is_sealed};
use crate::record::{BROKEN, REGISTER};
use crate::sql::{End, Ends, Place, Records, Unreadable, is_unreadable};

/// Records that are looked at together: at two times 64 KiB of JSON each, some 25 MiB at most.
const PAGE: usize = 200;

/// Nobody reads more; the first ones say where to begin.
const MAX_PROBLEMS: usize = 100;

/// A chain as it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Whose changes it holds; [`REGISTER`] for the one that tells of all.
    pub workspace: String,
    /// Records that were looked at.
    pub records: u64,
    /// Of the last one; 0 for an empty chain.
    pub sequence: u64,
    /// Of the last one.
    pub hash: Hash,
    /// What is wrong, at most 100; none where the chain is whole.
    pub problems: Vec<Problem>,
}

/// A place where a chain is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it shows; 0 where that is no single record.
    pub sequence: u64,
    /// In one sentence.
    pub what: String,
}

impl Chain {
    /// To be noted elsewhere, for [`Audit::still_contains`].
    #[must_use]
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, hash: self.hash }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, sequence: i64, what: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { sequence: sequence.try_into().unwrap_or(0), what });
        }
    }
}

impl Audit {
    /// Every workspace that has a chain, and the register itself, in order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn chains(&self) -> Result<Vec<String>, StoreError> {
        let (chains, _) = Records::chains(self.inner.store.read()).await?;
        Ok(chains.into_iter().collect())
    }

    /// Goes through one workspace's chain, in pages: memory does not grow with it. What is written
    /// meanwhile does not disturb it.
    ///
    /// # Errors
    /// When the database does not answer. What is wrong with the chain is in [`Chain::problems`].
    pub async fn verify(&self, workspace: &str) -> Result<Chain, StoreError> {
        let mut chain = self.verify_registered(workspace).await?;
        if workspace != REGISTER && !self.walk(REGISTER).await?.is_whole() {
            let what = "the register of chains is not as it was written: verify all chains";
            chain.problem(0, what.to_owned());
        }
        Ok(chain)
    }

    /// Goes through every chain, the register's first.
    ///
    /// # Errors
    /// As [`Audit::verify`].
    pub async fn verify_all(&self) -> Result<Vec<Chain>, StoreError> {
        let (names, unreadable) = Records::chains(self.inner.store.read()).await?;
        let mut register = self.walk(REGISTER).await?;
        if unreadable {
            let what = "there are records or heads of a workspace whose name can't be read";
            register.problem(0, what.to_owned());
        }
        let mut chains = Vec::with_capacity(names.len());
        // Where nothing was ever recorded there is no register.
        if unreadable || !names.is_empty() {
            chains.push(register);
        }
        for workspace in names.iter().filter(|name| *name != REGISTER) {
            chains.push(self.verify_registered(workspace).await?);
        }
        Ok(chains)
    }

    /// Whether a chain still has the record that it once ended with. Together with a chain that is
    /// whole, a yes says that nothing up to there has changed since; a no, that the chain was set back
    /// or written anew.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn still_contains(&self, workspace: &str, noted: &Head) -> Result<bool, StoreError> {
        let Ok(sequence) = i64::try_from(noted.sequence) else { return Ok(false) };
        if sequence == 0 {
            return Ok(noted.hash == Hash::NONE);
        }
        let hash = Records::hash(self.inner.store.read(), workspace, sequence).await?;
        Ok(hash.as_deref() == Some(noted.hash.0.as_slice()))
    }

    async fn verify_registered(&self, workspace: &str) -> Result<Chain, StoreError> {
        // Before the chain: it may begin meanwhile.
        let begun = Records::begun(self.inner.store.read(), workspace).await?;
        let mut chain = self.walk(workspace).await?;
        if workspace == REGISTER {
            return Ok(chain);
        }
        let is_there = chain.sequence > 0 || !chain.problems.is_empty();
        let begun = match begun {
            0 if is_there => Records::begun(self.inner.store.read(), workspace).await?,
            begun => begun,
        };
        match begun {
            0 if is_there => {
                chain.problem(0, "the register of chains does not tell of this one".to_owned());
            }
            0 | 1 => {}
            _ => chain.problem(0, "the register says that this chain began twice".to_owned()),
        }
        if begun > 0 && !is_there {
            chain.problem(0, "the whole chain is gone: the register tells of it".to_owned());
        }
        Ok(chain)
    }

    async fn walk(&self, workspace: &str) -> Result<Chain, StoreError> {
        let pool = self.inner.store.read();
        let seen = match Ends::snapshot(pool, workspace).await {
            Err(error) if is_unreadable(&error) => return Ok(Walk::unreadable(workspace)),
            seen => seen?,
        };
        let mut walk = Walk::new(workspace);
        // Up to where it went at that moment: what is written meanwhile has another head.
        let (mut from, to) = match seen.last {
            Ok(None) => (None, None),
            Ok(last) => (Some(i64::MIN), last),
            Err(_) => {
                walk.chain.problem(0, "there is a record whose place is no number".to_owned());
                (Some(i64::MIN), None)
            }
        };
        while let Some(start) = from {
            let page = match Records::page(pool, workspace, (start, to), PAGE as i64).await {
                Err(error) if is_unreadable(&error) => {
                    let what = "here or in the records after it is what can't be read at all";
                    walk.chain.problem(walk.expected, what.to_owned());
                    return Ok(walk.chain);
                }
                page => page?,
            };
            for place in &page {
                walk.step(self.inner.service, place);
            }
            let last = page.iter().rev().find_map(|place| place.sequence.ok());
            from = last.filter(|_| page.len() == PAGE).and_then(|last| last.checked_add(1));
        }
        self.judge_end(&mut walk, seen.end);
        Ok(walk.chain)
    }

    fn judge_end(&self, walk: &mut Walk, end: Option<Result<End, Unreadable>>) {
        let last = walk.expected - 1;
        let chain = &mut walk.chain;
        let end = match end {
            None if chain.records == 0 => return,
            None => return chain.problem(last, "the head of the chain is missing".to_owned()),
            Some(Err(Unreadable { column })) => {
                let what = format!("the head's {column} holds what nothing here writes");
                return chain.problem(last, what);
            }
            Some(Ok(end)) => end,
        };
        let End { sequence, hash, seal } = &end;
        let as_sealed = (*sequence, hash.as_slice(), seal.as_slice());
        if !is_sealed(&self.inner.key, self.inner.service, &chain.workspace, as_sealed) {
            let what = "the head isn't sealed with this audit key: it was changed, or the key was";
            chain.problem(*sequence, what.to_owned());
        }
        match sequence.saturating_sub(last) {
            0 => {}
            1.. => {
                let what = format!("records are missing at the end: {} to {sequence}", last + 1);
                chain.problem(last, what);
            }
            _ => {
                let what = format!("there are records after the head, which is at {sequence}");
                chain.problem(last, what);
            }
        }
        if *sequence == last && walk.previous.is_some_and(|last| last.0.as_slice() != hash) {
            chain.problem(last, "the head has another hash than the last record".to_owned());
        }
    }
}

/// On the way through a chain.
struct Walk {
    chain: Chain,
    expected: i64,
    /// The hash before; none where that is not known.
    previous: Option<Hash>,
}

impl Walk {
    fn new(workspace: &str) -> Walk {
        let chain = Chain {
            workspace: workspace.to_owned(),
            records: 0,
            sequence: 0,
            hash: Hash::NONE,
            problems: Vec::new(),
        };
        Walk { chain, expected: 1, previous: Some(Hash::NONE) }
    }

    fn unreadable(workspace: &str) -> Chain {
        let mut chain = Walk::new(workspace).chain;
        chain.problem(0, "the head or the last record can't be read at all".to_owned());
        chain
    }

    fn step(&mut self, service: &str, place: &Place) {
        self.chain.records += 1;
        let Ok(sequence) = place.sequence else {
            let what = "there is a record after this place whose own place is no number";
            return self.chain.problem(self.expected - 1, what.to_owned());
        };
        self.follow(sequence);
        let hash = place.hash.as_ref().ok().and_then(|hash| hash.as_slice().try_into().ok());
        let hash = hash.map(Hash);
        match (&place.record, hash) {
            (Err(Unreadable { column }), _) => {
                let what = format!("its {column} holds what nothing here writes");
                self.chain.problem(sequence, what);
            }
            (Ok(_), None) => self.chain.problem(sequence, "its hash is no hash".to_owned()),
            (Ok(record), Some(hash)) => {
                let before = self.previous;
                if before.is_some_and(|before| record.hash(service, &before) != hash) {
                    let what = "it isn't what was written here, or the hash before it isn't";
                    self.chain.problem(sequence, what.to_owned());
                }
                if record.action == BROKEN {
                    let found = record.before.as_deref().unwrap_or_default();
                    let what = format!(
                        "the chain wasn't as it was written when this was added; found was {found}"
                    );
                    self.chain.problem(sequence, what);
                }
            }
        }
        self.previous = hash;
        self.expected = sequence.saturating_add(1);
        self.chain.sequence = sequence.try_into().unwrap_or(0);
        self.chain.hash = hash.unwrap_or(Hash::NONE);
    }

    /// Goes to a place, over a gap if there is one.
    fn follow(&mut self, sequence: i64) {
        if sequence == self.expected {
            return;
        }
        self.previous = None;
        let what = match sequence.saturating_sub(self.expected) {
            1 => format!("record {} is missing", self.expected),
            2.. => format!("records {} to {} are missing", self.expected, sequence - 1),
            _ => format!("a record stands at {sequence}, before the first or twice"),
        };
        self.chain.problem(self.expected, what);
    }
}
