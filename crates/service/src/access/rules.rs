//! What each RPC says about who may call it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::caller::Role;

/// What a caller has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: who has no token yet.
    Nothing,
    /// This role, or one above it.
    Role(Role),
}

/// Finds what a request's message is about, in its one spelling; `None` where it can't be told.
pub type AboutOf = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// What a call of an RPC takes.
#[derive(Clone)]
pub struct Rule {
    /// What the caller has to be.
    pub need: Need,
    /// It changes something.
    pub changes: bool,
    /// It is not held up by how much else somebody calls.
    pub emergency: bool,
    /// Present where it is about one thing that a role may be limited to.
    pub about: Option<AboutOf>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Rule");
        debug.field("need", &self.need).field("changes", &self.changes);
        debug.field("emergency", &self.emergency).field("about", &self.about.is_some()).finish()
    }
}

/// An RPC that nobody has said anything about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} doesn't say who may call it")]
pub struct Unruled {
    /// `/dmarcer.control.v1.DomainService/AddDomain`.
    pub path: String,
}

/// The rule of every RPC, by its path.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<HashMap<Arc<str>, Rule>>);

impl Rules {
    /// Takes each RPC's path with its rule.
    ///
    /// # Errors
    /// An RPC without a rule: a process does not start with one.
    pub fn new(rpcs: impl IntoIterator<Item = (String, Option<Rule>)>) -> Result<Rules, Unruled> {
        let rules = rpcs.into_iter().map(|(path, rule)| match rule {
            Some(rule) => Ok((Arc::from(path), rule)),
            None => Err(Unruled { path }),
        });
        Ok(Rules(Arc::new(rules.collect::<Result<_, _>>()?)))
    }

    /// The rule of a path, and the path as it is kept.
    pub(super) fn of(&self, path: &str) -> Option<(&Arc<str>, &Rule)> {
        self.0.get_key_value(path)
    }
}
