//! From the MX records of a domain to the mx lines of its policy.

#[cfg(test)]
mod tests;

use std::fmt;

use mta_sts::{MxPattern, Policy};

use crate::domain::Domain;
use crate::refusal::Refusal;
use crate::text::echo;

/// What DNS says about where a domain takes its mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveMx {
    /// The MX records, in any order.
    Hosts(Vec<MxHost>),
    /// `MX 0 .`: it takes no mail ([RFC 7505](https://www.rfc-editor.org/rfc/rfc7505)).
    Null,
    /// The answer came, and had no MX record.
    None,
    /// No answer that could be relied on.
    Failed {
        /// In words for the user.
        why: String,
    },
}

/// One MX record. The name is as DNS gave it, and may be anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MxHost {
    /// Lower is preferred
    /// ([RFC 5321 section 5.1](https://www.rfc-editor.org/rfc/rfc5321#section-5.1)).
    pub preference: u16,
    /// The host, with or without a trailing dot.
    pub host: String,
}

/// Most MX records that make a policy. Domains in use have a dozen.
pub const MAX_MX_HOSTS: usize = 100;

/// What the mx lines of a policy would be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxLines {
    /// In order of preference, then of name; no pattern twice; at least one.
    pub lines: Vec<MxLine>,
    /// Whether the one line stands in for MX records that there are not.
    pub placeholder: bool,
    /// Hosts that no line can name, escaped, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One mx line with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxLine {
    /// What the line says.
    pub pattern: MxPattern,
    /// Why it is there.
    pub because: Because,
}

/// Why an mx line is in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// It is an MX of the domain.
    Host {
        /// The record's preference.
        preference: u16,
    },
    /// It covers a tenant's host at Microsoft 365, as Microsoft recommends.
    Microsoft365 {
        /// The record's preference.
        preference: u16,
        /// The tenant's host.
        host: String,
    },
    /// There is no MX; this is where mail goes then.
    Placeholder,
    /// It is in the policy, and no MX asks for it.
    NotInDns,
}

/// Where Microsoft 365 takes mail. Each tenant has a host below one of these, which can move
/// between siblings, so that the policy names all siblings.
///
/// Worldwide twice, then the US government's and China's.
const MICROSOFT_ZONES: [&str; 4] = [
    ".mail.protection.outlook.com",
    ".mx.microsoft",
    ".mail.protection.office365.us",
    ".mail.protection.partner.outlook.cn",
];

/// The mx lines that `live` asks for.
///
/// Without any MX the one line is the domain's own name, where mail goes then
/// ([RFC 5321 section 5.1](https://www.rfc-editor.org/rfc/rfc5321#section-5.1)): a placeholder,
/// good enough to start testing with. It is never an invented name.
///
/// # Errors
/// The domain takes no mail, the lookup failed, or no usable list comes of it.
pub fn mx_lines(domain: &Domain, live: &LiveMx) -> Result<MxLines, Refusal> {
    let mut hosts = match live.hosts(domain) {
        Ok(hosts) => hosts.to_vec(),
        Err(Refusal::NoMx { .. }) => return placeholder(domain),
        Err(refusal) => return Err(refusal),
    };
    if hosts.len() > MAX_MX_HOSTS {
        return Err(Refusal::TooManyMx { domain: domain.clone(), count: hosts.len() });
    }
    for host in &mut hosts {
        host.host.make_ascii_lowercase();
    }
    hosts.sort();
    let mut lines: Vec<MxLine> = Vec::new();
    let mut skipped = Vec::new();
    for host in &hosts {
        match line(host) {
            Ok(line) if lines.iter().any(|other| other.pattern == line.pattern) => {}
            Ok(line) => lines.push(line),
            Err(why) => skipped.push((echo(&host.host), why)),
        }
    }
    if lines.is_empty() {
        return Err(Refusal::MxUnusable {
            domain: domain.clone(),
            hosts: skipped.into_iter().map(|(host, why)| format!("{host}: {why}")).collect(),
        });
    }
    Ok(MxLines { lines, placeholder: false, skipped })
}

/// The live hosts that no line of the policy covers, escaped, in order of preference.
///
/// Senders that enforce do not deliver to these
/// ([RFC 8461 section 4.1](https://www.rfc-editor.org/rfc/rfc8461#section-4.1)).
/// Empty where `live` has no hosts to compare with.
pub fn uncovered(policy: &Policy, live: &LiveMx) -> Vec<String> {
    let LiveMx::Hosts(hosts) = live else {
        return Vec::new();
    };
    let mut hosts: Vec<&MxHost> = hosts.iter().filter(|host| !policy.covers(&host.host)).collect();
    hosts.sort();
    hosts.dedup_by(|a, b| a.host.eq_ignore_ascii_case(&b.host));
    hosts.into_iter().map(|host| echo(host.host.strip_suffix('.').unwrap_or(&host.host))).collect()
}

impl LiveMx {
    /// The hosts, at least one, or why there are none.
    pub(crate) fn hosts(&self, domain: &Domain) -> Result<&[MxHost], Refusal> {
        let domain = || domain.clone();
        match self {
            LiveMx::Failed { why } => Err(Refusal::mx_lookup_failed(&domain(), why)),
            LiveMx::Null => Err(Refusal::NullMx { domain: domain() }),
            LiveMx::None => Err(Refusal::NoMx { domain: domain() }),
            LiveMx::Hosts(hosts) if hosts.is_empty() => Err(Refusal::NoMx { domain: domain() }),
            // A null MX that came as a record.
            LiveMx::Hosts(hosts) if hosts.iter().all(|h| h.host == "." || h.host.is_empty()) => {
                Err(Refusal::NullMx { domain: domain() })
            }
            LiveMx::Hosts(hosts) => Ok(hosts),
        }
    }
}

impl MxLines {
    /// The lines without their reasons, as a policy takes them.
    pub fn patterns(&self) -> Vec<MxPattern> {
        self.lines.iter().map(|line| line.pattern.clone()).collect()
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Host { preference } => write!(f, "from your MX, priority {preference}"),
            Because::Microsoft365 { preference, host } => write!(
                f,
                "Microsoft's recommended wildcard for Microsoft 365, from {host}, \
                 priority {preference}"
            ),
            Because::Placeholder => f.write_str("placeholder, because no MX was found"),
            Because::NotInDns => f.write_str("no MX asks for it"),
        }
    }
}

fn placeholder(domain: &Domain) -> Result<MxLines, Refusal> {
    let pattern = MxPattern::host(domain.as_str()).map_err(|why| Refusal::MxUnusable {
        domain: domain.clone(),
        hosts: vec![format!("{domain}: {why}")],
    })?;
    let line = MxLine { pattern, because: Because::Placeholder };
    Ok(MxLines { lines: vec![line], placeholder: true, skipped: Vec::new() })
}

fn line(MxHost { preference, host }: &MxHost) -> Result<MxLine, String> {
    let preference = *preference;
    let pattern = MxPattern::host(host).map_err(|why| why.to_string())?;
    let name = pattern.as_str();
    let Some((tenant, siblings)) = name.split_once('.') else {
        return Err("a single word is no host on the Internet: use its full name".to_owned());
    };
    if !MICROSOFT_ZONES.iter().any(|zone| name.ends_with(zone)) {
        return Ok(MxLine { pattern, because: Because::Host { preference } });
    }
    let wildcard = format!("*.{siblings}").parse::<MxPattern>().map_err(|why| why.to_string())?;
    let host = format!("{tenant}.{siblings}");
    Ok(MxLine { pattern: wildcard, because: Because::Microsoft365 { preference, host } })
}
