//! A domain's MX, now, through the resolvers.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use hosting::{Domain, MAX_MX_HOSTS};

use crate::answer::{Answer, End, Value};
use crate::inquiry::Lookup;

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// What an MX look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mx {
    /// Hosts with their preference, by preference, then name; one more than are taken at most, so
    /// that too many are seen to be too many.
    Hosts(Vec<(u16, String)>),
    /// The domain takes no mail ([RFC 7505](https://www.rfc-editor.org/rfc/rfc7505)).
    Null,
    /// The domain has none.
    None,
}

/// Looks up the MX of a domain.
///
/// # Errors
/// A sentence for people: no answer, or a domain that does not exist, which is no domain to
/// conclude anything from.
pub(crate) async fn look_up(lookup: &Lookup, domain: &Domain) -> Result<Mx, String> {
    let inquiry = lookup.begin(LOOKUP_TIMEOUT).await;
    match inquiry.chase(domain.as_str(), RecordType::MX).await {
        Ok(answer) => read(domain, answer),
        Err(why) => Err(why.to_string()),
    }
}

fn read(domain: &Domain, answer: Answer) -> Result<Mx, String> {
    let values = match answer.end {
        End::Values(values) => values,
        End::NoData => return Ok(Mx::None),
        // A policy without MX is made of this, so it is not taken from one resolver's bare word.
        End::Bare => {
            let why = "gave an empty answer without the SOA that shows that there is no MX";
            return Err(format!("the resolver {why} at {domain}"));
        }
        End::NoName => return Err(format!("{domain} does not exist in DNS")),
        End::Elsewhere => return Err(format!("the alias at {domain} leads nowhere")),
        End::Circle => return Err(format!("the alias at {domain} leads in a circle")),
        End::TooLong => return Err(format!("the alias at {domain} leads through too many names")),
    };
    let host = |value| match value {
        Value::Mail { preference, host } => Some((preference, host)),
        _ => None,
    };
    // Beside other hosts the root is a mistake, and no host.
    let hosts = values.into_iter().filter_map(host).filter(|(_, host)| !host.is_empty());
    let mut hosts: Vec<(u16, String)> = hosts.collect();
    hosts.sort();
    hosts.dedup();
    hosts.truncate(MAX_MX_HOSTS + 1);
    Ok(if hosts.is_empty() { Mx::Null } else { Mx::Hosts(hosts) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(end: End, expected: Result<Mx, &str>) {
        let domain = Domain::parse("example.com").unwrap();
        let found = read(&domain, Answer { aliases: Vec::new(), end });
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    fn mail(hosts: &[(u16, &str)]) -> End {
        let mail =
            |&(preference, host): &(u16, &str)| Value::Mail { preference, host: host.into() };
        End::Values(hosts.iter().map(mail).collect())
    }

    #[test]
    fn a_null_mx_is_told_from_none_and_from_hosts() {
        check(End::NoData, Ok(Mx::None));
        check(mail(&[(0, "")]), Ok(Mx::Null));
        check(mail(&[(0, ""), (5, "")]), Ok(Mx::Null));
        let one = || Ok(Mx::Hosts(vec![(10, "mx.example.com".into())]));
        check(mail(&[(0, ""), (10, "mx.example.com")]), one());
        check(mail(&[(10, "mx.example.com"), (10, "mx.example.com")]), one());
        let bare = "the resolver gave an empty answer without the SOA that shows that there is no MX \
                    at example.com";
        check(End::Bare, Err(bare));
        check(End::NoName, Err("example.com does not exist in DNS"));
        check(End::Circle, Err("the alias at example.com leads in a circle"));
    }

    #[test]
    fn hosts_come_by_preference_then_name_and_too_many_are_seen_to_be() {
        let Mx::Hosts(hosts) = read(
            &Domain::parse("example.com").unwrap(),
            Answer { aliases: Vec::new(), end: mail(&[(20, "a"), (10, "c"), (10, "b")]) },
        )
        .unwrap() else {
            panic!("no hosts")
        };
        assert_eq!(hosts, [(10, "b".to_owned()), (10, "c".to_owned()), (20, "a".to_owned())]);

        let names: Vec<String> = (0..500).map(|n| format!("mx{n}.example.com")).collect();
        let many: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
        let answer = Answer { aliases: Vec::new(), end: mail(&many) };
        let found = read(&Domain::parse("example.com").unwrap(), answer).unwrap();
        assert!(matches!(found, Mx::Hosts(hosts) if hosts.len() == MAX_MX_HOSTS + 1));
    }
}
