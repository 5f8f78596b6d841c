//! What somebody may do in one workspace, and how two such answers meet.

use std::collections::BTreeSet;

use hosting::Domain;
use serde_json::{Value, json};
use service::caller::Role;

/// What somebody may do in one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Power {
    /// Look at everything.
    ReadOnly,
    /// Change domains, too.
    Manager(Reach),
    /// Everything, and not in this workspace alone.
    Admin,
}

/// Which domains a Domain manager may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of the workspace.
    Whole,
    /// Only these. Never empty: who may change no domain looks only.
    Named(BTreeSet<Domain>),
}

impl Power {
    /// A role as it is stored and sent: domains count for a Domain manager only, and none are all.
    pub(crate) fn new(role: Role, domains: impl IntoIterator<Item = Domain>) -> Power {
        match role {
            Role::ReadOnly => Power::ReadOnly,
            Role::DomainManager => {
                let domains: BTreeSet<Domain> = domains.into_iter().collect();
                Power::Manager(match domains.is_empty() {
                    true => Reach::Whole,
                    false => Reach::Named(domains),
                })
            }
            Role::PlatformAdmin | Role::Service => Power::Admin,
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self {
            Power::ReadOnly => Role::ReadOnly,
            Power::Manager(_) => Role::DomainManager,
            Power::Admin => Role::PlatformAdmin,
        }
    }

    /// The names that it is limited to, sorted; empty where it is not.
    pub(crate) fn domains(&self) -> Vec<String> {
        match self {
            Power::Manager(Reach::Named(domains)) => {
                domains.iter().map(ToString::to_string).collect()
            }
            Power::ReadOnly | Power::Manager(Reach::Whole) | Power::Admin => Vec::new(),
        }
    }

    /// As records of changes tell of it.
    pub(crate) fn recorded(&self) -> Value {
        match self.domains() {
            none if none.is_empty() => json!({ "role": self.role().as_str() }),
            domains => json!({ "role": self.role().as_str(), "domains": domains }),
        }
    }

    /// What somebody may do who was given both.
    #[must_use]
    pub(crate) fn or(self, other: Power) -> Power {
        match (self, other) {
            (Power::Admin, _) | (_, Power::Admin) => Power::Admin,
            (Power::Manager(one), Power::Manager(other)) => Power::Manager(one.or(other)),
            (Power::Manager(reach), Power::ReadOnly) | (Power::ReadOnly, Power::Manager(reach)) => {
                Power::Manager(reach)
            }
            (Power::ReadOnly, Power::ReadOnly) => Power::ReadOnly,
        }
    }

    /// What is within both.
    #[must_use]
    pub(crate) fn and(self, other: Power) -> Power {
        match (self, other) {
            (Power::ReadOnly, _) | (_, Power::ReadOnly) => Power::ReadOnly,
            (Power::Admin, power) | (power, Power::Admin) => power,
            (Power::Manager(one), Power::Manager(other)) => match one.and(other) {
                Some(reach) => Power::Manager(reach),
                // Empty would read as all of the workspace.
                None => Power::ReadOnly,
            },
        }
    }
}

impl Reach {
    fn or(self, other: Reach) -> Reach {
        match (self, other) {
            (Reach::Named(mut one), Reach::Named(other)) => {
                one.extend(other);
                Reach::Named(one)
            }
            (Reach::Whole, _) | (_, Reach::Whole) => Reach::Whole,
        }
    }

    fn and(self, other: Reach) -> Option<Reach> {
        match (self, other) {
            (Reach::Whole, reach) | (reach, Reach::Whole) => Some(reach),
            (Reach::Named(one), Reach::Named(other)) => {
                let both: BTreeSet<Domain> = one.intersection(&other).cloned().collect();
                (!both.is_empty()).then_some(Reach::Named(both))
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `read`, `manage`, `manage a.example b.example`, `admin`.
    pub(crate) fn power(text: &str) -> Power {
        let mut words = text.split_whitespace();
        let role = match words.next() {
            Some("read") => Role::ReadOnly,
            Some("manage") => Role::DomainManager,
            Some("admin") => Role::PlatformAdmin,
            other => panic!("{other:?}"),
        };
        Power::new(role, words.map(|name| Domain::parse(name).unwrap()))
    }

    #[test]
    fn of_two_roles_the_higher_counts_and_the_lesser_limits() {
        for (one, other, either, both) in [
            ("read", "read", "read", "read"),
            ("read", "manage", "manage", "read"),
            ("read", "manage a.example", "manage a.example", "read"),
            ("read", "admin", "admin", "read"),
            ("manage", "manage", "manage", "manage"),
            ("manage", "manage a.example", "manage", "manage a.example"),
            ("manage", "admin", "admin", "manage"),
            ("manage a.example", "admin", "admin", "manage a.example"),
            ("admin", "admin", "admin", "admin"),
            (
                "manage a.example b.example",
                "manage b.example c.example",
                "manage a.example b.example c.example",
                "manage b.example",
            ),
            // Nothing in common is not everything.
            ("manage a.example", "manage b.example", "manage a.example b.example", "read"),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                assert_eq!(power(one).or(power(other)), power(either), "{one} or {other}");
                assert_eq!(power(one).and(power(other)), power(both), "{one} and {other}");
            }
        }
    }

    #[test]
    fn domains_count_for_a_domain_manager_only() {
        let named = || [Domain::parse("a.example").unwrap()];
        assert_eq!(Power::new(Role::ReadOnly, named()), Power::ReadOnly);
        assert_eq!(Power::new(Role::PlatformAdmin, named()), Power::Admin);
        assert_eq!(Power::new(Role::DomainManager, named()).domains(), ["a.example"]);
        assert_eq!(Power::new(Role::DomainManager, []).domains(), Vec::<String>::new());
    }
}
