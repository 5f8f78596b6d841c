//! From the MX records of a domain to the mx lines of its policy.

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
    /// Lower is preferred ([RFC 5321 section 5.1](https://www.rfc-editor.org/rfc/rfc5321#section-5.1)).
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
    let LiveMx::Hosts(hosts) = live else { return Vec::new() };
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

#[cfg(test)]
mod tests {
    use mta_sts::Mode;
    use proptest::prelude::*;

    use super::*;

    fn domain() -> Domain {
        Domain::parse("example.com").unwrap()
    }

    fn live(hosts: &[(u16, &str)]) -> LiveMx {
        let host = |(preference, host): &(u16, &str)| MxHost {
            preference: *preference,
            host: (*host).to_owned(),
        };
        LiveMx::Hosts(hosts.iter().map(host).collect())
    }

    fn check(hosts: &[(u16, &str)], expected: &str) {
        let text = match mx_lines(&domain(), &live(hosts)) {
            Ok(lines) => {
                assert!(!lines.placeholder);
                crate::text::list(lines.patterns())
            }
            Err(refusal) => refusal.code().to_owned(),
        };
        assert_eq!(text, expected, "{hosts:?}");
    }

    #[test]
    fn each_host_gets_a_line_in_order_of_preference() {
        check(&[(10, "mx.example.com")], "mx.example.com");
        check(&[(20, "a.example.com"), (10, "b.example.com")], "b.example.com, a.example.com");
        check(&[(10, "b.example.com"), (10, "a.example.com")], "a.example.com, b.example.com");
        check(&[(10, "MX.Example.COM.")], "mx.example.com");
        check(&[(10, "b.example.com."), (5, "a.example.com"), (1, "B.example.com")],
            "b.example.com, a.example.com");
        check(&[(10, "example.com")], "example.com");
        check(
            &[(1, "aspmx.l.google.com"), (5, "alt2.aspmx.l.google.com"), (5, "alt1.aspmx.l.google.com")],
            "aspmx.l.google.com, alt1.aspmx.l.google.com, alt2.aspmx.l.google.com",
        );
    }

    #[test]
    fn a_microsoft_365_tenant_becomes_the_wildcard_over_its_siblings() {
        check(&[(0, "example-com.mail.protection.outlook.com")], "*.mail.protection.outlook.com");
        check(&[(0, "Example-Com.Mail.Protection.Outlook.com.")], "*.mail.protection.outlook.com");
        check(&[(0, "example-com.h-v1.mx.microsoft")], "*.h-v1.mx.microsoft");
        check(&[(0, "x.mail.protection.office365.us")], "*.mail.protection.office365.us");
        check(&[(0, "x.mail.protection.partner.outlook.cn")], "*.mail.protection.partner.outlook.cn");
        check(
            &[(0, "a.mail.protection.outlook.com"), (5, "b.mail.protection.outlook.com")],
            "*.mail.protection.outlook.com",
        );
        check(&[(0, "mail.protection.outlook.com")], "mail.protection.outlook.com");
        check(&[(0, "evil-mail.protection.outlook.com")], "evil-mail.protection.outlook.com");
        check(&[(0, "x.mail.protection.outlook.com.example.net")],
            "x.mail.protection.outlook.com.example.net");
    }

    #[test]
    fn what_no_line_can_name_is_skipped_with_the_reason() {
        let hostile = [
            "192.0.2.1", "[192.0.2.1]", "2001:db8::1", "mx\r\nmode: none.example.com", "m x.example.com",
            "mx:25.example.com", "mx_1.example.com", "*.example.com", "localhost", "mx..example.com",
            "mx.example.com..", "müller.example", "mx\u{fffd}.example.com", "", ".",
            &format!("{}.example.com", "a".repeat(64)), &"a.".repeat(200),
        ];
        for host in hostile {
            check(&[(10, "mx.example.com"), (20, host)], "mx.example.com");
            let lines =
                mx_lines(&domain(), &live(&[(10, "mx.example.com"), (20, host)])).unwrap();
            let (shown, why) = &lines.skipped[0];
            assert!(shown.len() < 100 && !shown.contains(char::is_control), "{shown:?}");
            assert!(!why.is_empty() && !why.contains(char::is_control));
        }
        check(&[(10, "192.0.2.1"), (20, "localhost")], "MX_UNUSABLE");
    }

    #[test]
    fn no_list_comes_of_null_mx_failure_or_too_many() {
        check(&[(0, ".")], "NULL_MX");
        check(&[(0, "")], "NULL_MX");
        let code = |live| mx_lines(&domain(), &live).unwrap_err().code();
        assert_eq!(code(LiveMx::Null), "NULL_MX");
        assert_eq!(code(LiveMx::Failed { why: "SERVFAIL".to_owned() }), "MX_LOOKUP_FAILED");
        let many = |count| {
            let host = |n| MxHost { preference: 10, host: format!("mx{n}.example.com") };
            LiveMx::Hosts((0..count).map(host).collect())
        };
        assert_eq!(code(many(MAX_MX_HOSTS + 1)), "TOO_MANY_MX");
        assert_eq!(mx_lines(&domain(), &many(MAX_MX_HOSTS)).unwrap().lines.len(), MAX_MX_HOSTS);
    }

    #[test]
    fn without_mx_the_domain_itself_holds_the_place() {
        for live in [LiveMx::None, LiveMx::Hosts(Vec::new())] {
            let lines = mx_lines(&domain(), &live).unwrap();
            assert!(lines.placeholder);
            assert_eq!(crate::text::list(lines.patterns()), "example.com");
            assert_eq!(lines.lines[0].because, Because::Placeholder);
        }
    }

    #[test]
    fn live_hosts_outside_the_policy_are_named() {
        fn check(patterns: &[&str], hosts: &[(u16, &str)], expected: &[&str]) {
            let mx = patterns.iter().map(|p| p.parse().unwrap()).collect();
            let policy = Policy::new(Mode::Enforce, mx, 86_400).unwrap();
            assert_eq!(uncovered(&policy, &live(hosts)), expected);
        }
        check(&["mx.example.com"], &[(10, "MX.example.com.")], &[]);
        check(&["*.example.com"], &[(10, "mx.example.com"), (20, "a.b.example.com")],
            &["a.b.example.com"]);
        check(&["mx.example.com"], &[(20, "x.example.net"), (10, "y.example.net.")],
            &["y.example.net", "x.example.net"]);
        check(&["mx.example.com"], &[(10, "a\r\nb")], &[r"a\r\nb"]);
    }

    proptest! {
        #[test]
        fn whatever_dns_says_the_lines_cover_it_or_say_why_not(
            hosts in prop::collection::vec((0..3_u16, host()), 0..12),
        ) {
            let live = LiveMx::Hosts(
                hosts.into_iter().map(|(preference, host)| MxHost { preference, host }).collect(),
            );
            if let Ok(lines) = mx_lines(&domain(), &live) {
                let policy = Policy::new(Mode::Enforce, lines.patterns(), 86_400).unwrap();
                let left = uncovered(&policy, &live);
                for host in &left {
                    prop_assert!(lines.skipped.iter().any(|(skipped, _)| {
                        skipped.trim_end_matches('.').eq_ignore_ascii_case(host.trim_end_matches('.'))
                    }), "{host} of {lines:?}");
                }
                // A body can be read back: nothing in a name breaks a line.
                let body = String::from_utf8(policy.render()).unwrap();
                prop_assert_eq!(body.lines().count(), 3 + lines.lines.len());
            }
        }
    }

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c]{1,2}\\.(example\\.com|mx\\.microsoft|mail\\.protection\\.outlook\\.com)\\.?",
            "[A-Za-z0-9_ .:*-]{0,12}",
            any::<String>().prop_map(|s| s.chars().take(12).collect()),
        ]
    }
}
