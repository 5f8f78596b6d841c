//! Where somebody may act, and which workspace a call is in.

use std::collections::{BTreeMap, BTreeSet};

use hosting::WorkspaceId;

use super::power::Power;
use super::refused::Refused;

/// The workspace that is there from the start, and is never closed.
pub(crate) const DEFAULT_WORKSPACE: &str = "default";

/// A role that somebody gave a person, here or at the sign-in provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) workspace: WorkspaceId,
    /// The workspace's name.
    pub(crate) name: String,
    pub(crate) closed: bool,
    pub(crate) power: Power,
}

/// An open workspace in which a person has a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) power: Power,
}

/// All that a person may do: the highest of what they were given for each workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    open: BTreeMap<WorkspaceId, Place>,
    closed: BTreeSet<WorkspaceId>,
}

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever holds the token that is in the configuration.
    Admin,
    /// A person, with what they may do now.
    Person(Places),
}

/// What a token was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// All that its owner may do.
    SignIn,
    /// No more than this, in this workspace; for a Platform admin's in all others, too.
    Api { workspace: WorkspaceId, closed: bool, power: Power },
}

/// The workspace that a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// None: the caller's own.
    Own,
    Open(WorkspaceId),
    Closed(WorkspaceId),
    /// There is none of that id.
    Missing,
}

/// In which workspace a call is, and what it may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) workspace: WorkspaceId,
    pub(crate) power: Power,
}

impl Places {
    pub(crate) fn of(given: impl IntoIterator<Item = Given>) -> Places {
        let mut places = Places::default();
        for Given { workspace, name, closed, power } in given {
            if closed {
                places.closed.insert(workspace);
                continue;
            }
            let power = match places.open.remove(&workspace) {
                Some(before) => before.power.or(power),
                None => power,
            };
            places.open.insert(workspace, Place { name, power });
        }
        places
    }

    /// Who is Platform admin somewhere is one everywhere.
    pub(crate) fn is_admin(&self) -> bool {
        self.open.values().any(|place| place.power == Power::Admin)
    }

    /// By workspace, with what may be done there.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&WorkspaceId, &Place)> {
        self.open.iter()
    }

    /// Open and closed ones.
    pub(crate) fn all(&self) -> BTreeSet<WorkspaceId> {
        self.open.keys().chain(&self.closed).cloned().collect()
    }

    /// The workspace of a call that asks for none; of a Platform admin, the one that made them one.
    ///
    /// # Errors
    /// There is none, or several.
    pub(crate) fn home(&self) -> Result<&WorkspaceId, Refused> {
        let admin = self.open.iter().find(|(_, place)| place.power == Power::Admin);
        if let Some((workspace, _)) = admin {
            return Ok(workspace);
        }
        let mut open = self.open.keys();
        match (open.next(), open.next()) {
            (None, _) => Err(Refused::TokenInvalid),
            (Some(only), None) => Ok(only),
            _ => {
                Err(Refused::WorkspaceRequired { workspaces: self.open.keys().cloned().collect() })
            }
        }
    }

    /// The workspace that is shown for somebody who has several.
    pub(crate) fn first(&self) -> Option<&WorkspaceId> {
        self.home().ok().or_else(|| self.open.keys().next())
    }

    /// What they may do in an open workspace; none where they have no role there.
    pub(crate) fn power_in(&self, workspace: &WorkspaceId) -> Option<Power> {
        match self.is_admin() {
            true => Some(Power::Admin),
            false => self.open.get(workspace).map(|place| place.power.clone()),
        }
    }
}

impl Owner {
    /// What the owner may do in an open workspace; none where they have no role there.
    pub(crate) fn power_in(&self, workspace: &WorkspaceId) -> Option<Power> {
        match self {
            Owner::Admin => Some(Power::Admin),
            Owner::Person(places) => places.power_in(workspace),
        }
    }

    fn home(&self) -> Result<Seat, Refused> {
        match self {
            Owner::Admin => {
                let workspace = DEFAULT_WORKSPACE.parse().map_err(|_| Refused::TokenInvalid)?;
                Ok(Seat { workspace, power: Power::Admin })
            }
            Owner::Person(places) => {
                let workspace = places.home()?.clone();
                let power = places.power_in(&workspace).ok_or(Refused::TokenInvalid)?;
                Ok(Seat { workspace, power })
            }
        }
    }

    /// Whether the owner would be let into a workspace, were it open.
    fn belongs_to(&self, workspace: &WorkspaceId) -> bool {
        match self {
            Owner::Admin => true,
            Owner::Person(places) => places.is_admin() || places.closed.contains(workspace),
        }
    }

    /// Whether the owner can do anything at all.
    fn has_a_role(&self) -> bool {
        match self {
            Owner::Admin => true,
            Owner::Person(places) => !places.open.is_empty(),
        }
    }
}

/// In which workspace a call is, and what it may do there: the lesser of what its token was made for
/// and what the token's owner may do now.
///
/// # Errors
/// The token is good for nothing any more, or the call asks for a workspace that it can't be in.
pub(crate) fn choose(purpose: &Purpose, owner: &Owner, asked: &Asked) -> Result<Seat, Refused> {
    match purpose {
        Purpose::SignIn => choose_any(owner, asked),
        Purpose::Api { workspace, closed: true, .. } => match asked {
            Asked::Closed(wanted) if wanted == workspace && owner.belongs_to(workspace) => {
                Err(Refused::WorkspaceClosed { workspace: workspace.clone() })
            }
            _ => Err(Refused::TokenInvalid),
        },
        Purpose::Api { workspace, closed: false, power } => {
            let owners = owner.power_in(workspace).ok_or(Refused::TokenInvalid)?;
            let power = owners.and(power.clone());
            match asked {
                Asked::Own => Ok(Seat { workspace: workspace.clone(), power }),
                Asked::Open(wanted) if wanted == workspace || power == Power::Admin => {
                    Ok(Seat { workspace: wanted.clone(), power })
                }
                Asked::Closed(wanted) if power == Power::Admin => {
                    Err(Refused::WorkspaceClosed { workspace: wanted.clone() })
                }
                // Somebody else's is answered like none.
                Asked::Open(_) | Asked::Closed(_) | Asked::Missing => {
                    Err(Refused::WorkspaceNotFound)
                }
            }
        }
    }
}

fn choose_any(owner: &Owner, asked: &Asked) -> Result<Seat, Refused> {
    match asked {
        Asked::Own => owner.home(),
        Asked::Open(workspace) => match owner.power_in(workspace) {
            Some(power) => Ok(Seat { workspace: workspace.clone(), power }),
            None if owner.has_a_role() => Err(Refused::WorkspaceNotFound),
            None => Err(Refused::TokenInvalid),
        },
        Asked::Closed(workspace) if owner.belongs_to(workspace) => {
            Err(Refused::WorkspaceClosed { workspace: workspace.clone() })
        }
        Asked::Closed(_) | Asked::Missing if owner.has_a_role() => Err(Refused::WorkspaceNotFound),
        Asked::Closed(_) | Asked::Missing => Err(Refused::TokenInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::super::power::tests::power;
    use super::*;

    fn workspace(id: &str) -> WorkspaceId {
        id.parse().unwrap()
    }

    /// `a: read, b: manage x.example, c closed: admin`.
    fn places(text: &str) -> Places {
        let given = text.split(", ").filter(|entry| !entry.is_empty()).map(|entry| {
            let (place, role) = entry.split_once(": ").unwrap();
            let (id, closed) = match place.strip_suffix(" closed") {
                Some(id) => (id, true),
                None => (place, false),
            };
            Given { workspace: workspace(id), name: id.to_owned(), closed, power: power(role) }
        });
        Places::of(given)
    }

    /// `person a: read`, `root`.
    fn owner(text: &str) -> Owner {
        match text.strip_prefix("person ") {
            Some(text) => Owner::Person(places(text)),
            None => Owner::Admin,
        }
    }

    /// `sign-in`, `api a: read`, `api a closed: read`.
    fn purpose(text: &str) -> Purpose {
        let Some(text) = text.strip_prefix("api ") else { return Purpose::SignIn };
        let (place, role) = text.split_once(": ").unwrap();
        let (id, closed) = match place.strip_suffix(" closed") {
            Some(id) => (id, true),
            None => (place, false),
        };
        Purpose::Api { workspace: workspace(id), closed, power: power(role) }
    }

    /// Open ones are a, b, c and default, z is closed.
    fn asked(text: &str) -> Asked {
        match text {
            "" => Asked::Own,
            "a" | "b" | "c" | "default" => Asked::Open(workspace(text)),
            "z" => Asked::Closed(workspace(text)),
            _ => Asked::Missing,
        }
    }

    #[test]
    fn a_call_is_in_the_workspace_that_it_may_be_in() {
        const CASES: &[(&str, &str, &str, &str)] = &[
            // A sign-in sees all workspaces of its person.
            ("sign-in", "person a: read", "", "a: read"),
            ("sign-in", "person a: read", "a", "a: read"),
            ("sign-in", "person a: read", "b", "WORKSPACE_NOT_FOUND"),
            ("sign-in", "person a: read", "nowhere", "WORKSPACE_NOT_FOUND"),
            ("sign-in", "person a: read", "z", "WORKSPACE_NOT_FOUND"),
            ("sign-in", "person a: read, b: manage", "", "WORKSPACE_REQUIRED a, b"),
            ("sign-in", "person a: read, b: manage", "b", "b: manage"),
            ("sign-in", "person a: read, b: manage x.example", "b", "b: manage x.example"),
            // The highest of several roles counts, and their domains together.
            (
                "sign-in",
                "person a: read, a: manage x.example, a: manage y.example",
                "",
                "a: manage x.example y.example",
            ),
            ("sign-in", "person a: manage x.example, a: manage", "", "a: manage"),
            // Closed workspaces give nothing.
            ("sign-in", "person z closed: admin", "", "TOKEN_INVALID"),
            ("sign-in", "person z closed: read", "a", "TOKEN_INVALID"),
            ("sign-in", "person z closed: read", "nowhere", "TOKEN_INVALID"),
            ("sign-in", "person z closed: read", "z", "WORKSPACE_CLOSED"),
            ("sign-in", "person a: read, z closed: read", "z", "WORKSPACE_CLOSED"),
            ("sign-in", "person a: read, z closed: admin", "", "a: read"),
            ("sign-in", "person a: read, z closed: admin", "b", "WORKSPACE_NOT_FOUND"),
            ("sign-in", "person ", "", "TOKEN_INVALID"),
            ("sign-in", "person ", "a", "TOKEN_INVALID"),
            ("sign-in", "person ", "z", "TOKEN_INVALID"),
            // A Platform admin is one everywhere, and at home where they were made one.
            ("sign-in", "person a: read, b: admin", "", "b: admin"),
            ("sign-in", "person a: read, b: admin", "a", "a: admin"),
            ("sign-in", "person a: read, b: admin", "c", "c: admin"),
            ("sign-in", "person b: admin", "z", "WORKSPACE_CLOSED"),
            ("sign-in", "person b: admin", "nowhere", "WORKSPACE_NOT_FOUND"),
            ("sign-in", "root", "", "default: admin"),
            ("sign-in", "root", "b", "b: admin"),
            ("sign-in", "root", "z", "WORKSPACE_CLOSED"),
            ("sign-in", "root", "nowhere", "WORKSPACE_NOT_FOUND"),
            // An API token belongs to its workspace.
            ("api a: manage", "person a: manage, b: manage", "", "a: manage"),
            ("api a: manage", "person a: manage, b: manage", "a", "a: manage"),
            ("api a: manage", "person a: manage, b: manage", "b", "WORKSPACE_NOT_FOUND"),
            ("api a: manage", "person a: manage, b: manage", "nowhere", "WORKSPACE_NOT_FOUND"),
            ("api a: manage", "person a: manage, z closed: read", "z", "WORKSPACE_NOT_FOUND"),
            // It can do the lesser of what it was made for and what its owner may do now.
            ("api a: admin", "person a: manage", "", "a: manage"),
            ("api a: manage", "person a: read", "", "a: read"),
            ("api a: read", "person a: admin", "", "a: read"),
            ("api a: manage", "person a: manage x.example", "", "a: manage x.example"),
            ("api a: manage x.example", "person a: manage", "", "a: manage x.example"),
            ("api a: manage x.example", "person a: manage y.example", "", "a: read"),
            ("api a: manage", "person b: manage", "", "TOKEN_INVALID"),
            ("api a: manage", "person ", "", "TOKEN_INVALID"),
            ("api a: manage", "person b: admin", "", "a: manage"),
            // A Platform admin's for Platform admins may choose, as long as both are that.
            ("api a: admin", "person b: admin", "c", "c: admin"),
            ("api a: admin", "person b: admin", "z", "WORKSPACE_CLOSED"),
            ("api a: admin", "person b: admin", "nowhere", "WORKSPACE_NOT_FOUND"),
            ("api a: admin", "person a: manage", "b", "WORKSPACE_NOT_FOUND"),
            ("api a: manage", "person a: admin", "b", "WORKSPACE_NOT_FOUND"),
            ("api a: admin", "root", "b", "b: admin"),
            ("api a: read", "root", "", "a: read"),
            ("api a: read", "root", "b", "WORKSPACE_NOT_FOUND"),
            // With its workspace it ends.
            ("api z closed: admin", "root", "", "TOKEN_INVALID"),
            ("api z closed: admin", "root", "a", "TOKEN_INVALID"),
            ("api z closed: admin", "root", "z", "WORKSPACE_CLOSED"),
            ("api z closed: read", "person z closed: read", "z", "WORKSPACE_CLOSED"),
            ("api z closed: read", "person a: read", "z", "TOKEN_INVALID"),
            ("api z closed: read", "person z closed: read", "", "TOKEN_INVALID"),
        ];
        for (made_for, whose, wanted, expected) in CASES {
            let seat = choose(&purpose(made_for), &owner(whose), &asked(wanted));
            let found = match seat {
                Ok(Seat { workspace, power: found }) => {
                    let (id, role) = expected.split_once(": ").unwrap_or((expected, "read"));
                    assert_eq!(found, power(role), "{made_for} of {whose} asks for {wanted:?}");
                    (workspace.to_string(), id)
                }
                Err(Refused::WorkspaceRequired { workspaces }) => {
                    let ids: Vec<String> = workspaces.iter().map(ToString::to_string).collect();
                    (format!("WORKSPACE_REQUIRED {}", ids.join(", ")), *expected)
                }
                Err(refused) => (refused.reason().to_owned(), *expected),
            };
            assert_eq!(found.0, found.1, "{made_for} of {whose} asks for {wanted:?}");
        }
    }
}
