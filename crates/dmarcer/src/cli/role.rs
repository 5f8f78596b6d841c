//! Roles as they are typed and shown.

use clap::{Args, ValueEnum};
use wire::access;

use crate::cli::failure::Failure;
use crate::cli::output::word;

// Without `///`: clap would print a paragraph for each value.
/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    // Looks at everything, changes nothing.
    ReadOnly,
    // Changes domains.
    DomainManager,
    // Members, tokens of others, workspaces, regions.
    PlatformAdmin,
}

/// Which domains a role is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct Domains {
    /// Only this domain, for a domain-manager; may be repeated
    #[arg(long = "domain", value_name = "NAME")]
    domains: Vec<String>,
}

impl Role {
    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Role::ReadOnly => access::Role::ReadOnly,
            Role::DomainManager => access::Role::DomainManager,
            Role::PlatformAdmin => access::Role::PlatformAdmin,
        }
        .into()
    }
}

impl Domains {
    /// The domains of this role.
    ///
    /// # Errors
    /// Named domains are for Domain managers: whoever names some for another role means something else.
    pub(crate) fn of(self, role: Option<Role>) -> Result<Vec<String>, Failure> {
        match role {
            Some(Role::DomainManager) => Ok(self.domains),
            _ if self.domains.is_empty() => Ok(self.domains),
            _ => Err(Failure::usage("--domain goes with --role domain-manager")),
        }
    }
}

/// A role as it is typed: `domain-manager`.
pub(crate) fn shown(role: access::Role) -> String {
    word(role.as_str_name(), "ROLE_").replace(' ', "-")
}

/// Named domains for people.
pub(crate) fn reach(role: access::Role, domains: &[String]) -> String {
    match (role, domains) {
        (access::Role::DomainManager, []) => "all".to_owned(),
        (_, domains) => domains.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_shown_as_it_is_typed() {
        for role in Role::value_variants() {
            let wire = access::Role::try_from(role.to_wire()).unwrap();
            let typed = role.to_possible_value().unwrap();
            assert_eq!(shown(wire), typed.get_name());
        }
    }

    #[test]
    fn named_domains_are_for_domain_managers() {
        let named = || Domains { domains: vec!["a.example".to_owned()] };
        assert!(named().of(Some(Role::DomainManager)).is_ok());
        for role in [None, Some(Role::ReadOnly), Some(Role::PlatformAdmin)] {
            assert_eq!(named().of(role).unwrap_err().reason(), "USAGE");
            assert!(Domains { domains: Vec::new() }.of(role).is_ok());
        }
    }
}
