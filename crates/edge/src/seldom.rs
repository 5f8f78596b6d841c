//! Says a thing once a minute, however often somebody makes us see it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(60);
/// Things at a time that something was said about. Of more than these nothing is said.
const MAX_THINGS: usize = 1_000;

/// What was said of late, and when.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    said: Mutex<HashMap<String, Instant>>,
}

impl Seldom {
    /// Whether it is time to say something about this thing. If so, it is taken as said.
    pub(crate) fn may_say(&self, thing: &str) -> bool {
        self.may_say_at(thing, Instant::now())
    }

    fn may_say_at(&self, thing: &str, now: Instant) -> bool {
        let is_new = |said: &Instant| now.duration_since(*said) < EVERY;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(thing).is_some_and(is_new) {
            return false;
        }
        if said.len() >= MAX_THINGS {
            said.retain(|_, said| is_new(said));
        }
        let has_room = said.len() < MAX_THINGS;
        if has_room {
            said.insert(thing.to_owned(), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once_a_minute_and_not_too_many_things() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert!(seldom.may_say_at("a", start) && seldom.may_say_at("b", start));
        assert!(!seldom.may_say_at("a", start + EVERY / 2));
        assert!(seldom.may_say_at("a", start + EVERY));
        let things = (0..2 * MAX_THINGS).map(|nth| nth.to_string());
        let said = things.filter(|thing| seldom.may_say_at(thing, start + EVERY)).count();
        assert_eq!(said, MAX_THINGS - 1);
    }
}
