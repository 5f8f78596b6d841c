//! The hot names, bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that serve at the same time seldom want the same part.
const PARTS: usize = 16;

/// Values by name: about as many as it was made for, those that were asked for last.
pub(crate) struct Cache<V> {
    parts: Vec<Mutex<Part<V>>>,
    per_part: usize,
    hasher: RandomState,
}

/// Two generations: what is asked for moves to the young one; when that is full, the old one goes.
struct Part<V> {
    young: HashMap<Box<str>, Arc<V>>,
    old: HashMap<Box<str>, Arc<V>>,
    /// Counts removals, so that a value read before one is not kept after it.
    removals: u64,
}

/// Says that nothing had been removed when a value began to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

impl<V> Cache<V> {
    /// A cache of at most `capacity` values.
    pub(crate) fn new(capacity: usize) -> Cache<V> {
        let part = || {
            let (young, old) = (HashMap::new(), HashMap::new());
            Mutex::new(Part { young, old, removals: 0 })
        };
        Cache {
            parts: (0..PARTS).map(|_| part()).collect(),
            per_part: (capacity / PARTS / 2).max(1),
            hasher: RandomState::new(),
        }
    }

    /// The value of `name`, or a ticket to [`keep`](Cache::keep) one with.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<V>, Ticket> {
        let mut part = self.part(name);
        if let Some(value) = part.young.get(name) {
            return Ok(value.clone());
        }
        match part.old.remove_entry(name) {
            Some((name, value)) => {
                part.insert(name, value.clone(), self.per_part);
                Ok(value)
            }
            None => Err(Ticket(part.removals)),
        }
    }

    /// Keeps a value, unless something was removed since the ticket was given: it may be the value
    /// that was removed.
    pub(crate) fn keep(&self, ticket: Ticket, name: &str, value: Arc<V>) {
        let mut part = self.part(name);
        if part.removals == ticket.0 {
            part.insert(name.into(), value, self.per_part);
        }
    }

    /// Forgets the value of `name`.
    pub(crate) fn remove(&self, name: &str) {
        let mut part = self.part(name);
        part.removals += 1;
        part.young.remove(name);
        part.old.remove(name);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.removals += 1;
            part.young.clear();
            part.old.clear();
        }
    }

    fn part(&self, name: &str) -> MutexGuard<'_, Part<V>> {
        let nth = self.hasher.hash_one(name) % PARTS as u64;
        let part = &self.parts[nth as usize];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Part<V> {
    fn insert(&mut self, name: Box<str>, value: Arc<V>, at_most: usize) {
        if self.young.len() >= at_most {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(cache: &Cache<u32>, name: &str, value: u32) {
        if let Err(ticket) = cache.get(name) {
            cache.keep(ticket, name, Arc::new(value));
        }
    }

    #[test]
    fn it_never_holds_more_than_its_bound_and_keeps_what_is_asked_for() {
        let cache = Cache::new(320);
        keep(&cache, "hot", 1);
        for nth in 0..10_000 {
            keep(&cache, &format!("cold-{nth}"), nth);
            assert!(cache.get("hot").is_ok(), "after {nth}");
        }
        let held: usize = cache
            .parts
            .iter()
            .map(|part| part.lock().unwrap())
            .map(|part| part.young.len() + part.old.len())
            .sum();
        assert!(held <= 320, "{held}");
    }

    #[test]
    fn a_value_that_was_removed_while_it_was_read_is_not_kept() {
        let cache = Cache::new(100);
        let ticket = cache.get("a").unwrap_err();
        cache.remove("a");
        cache.keep(ticket, "a", Arc::new(1));
        assert!(cache.get("a").is_err());
        keep(&cache, "a", 2);
        assert_eq!(cache.get("a").map(|value| *value).ok(), Some(2));
    }
}
