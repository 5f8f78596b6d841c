//! A policy, and the file it is served as.

use crate::{Mode, MxPattern};

/// Longest life a policy can ask for, about a year
/// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2), `max_age`).
pub const MAX_AGE_SECONDS: u32 = 31_557_600;

/// Longest policy file a sender is expected to read
/// ([RFC 8461 section 3.3](https://www.rfc-editor.org/rfc/rfc8461#section-3.3) suggests 64 KiB).
pub const MAX_BODY_BYTES: usize = 65_536;

/// Most patterns in one policy: so few that even the longest possible fit in [`MAX_BODY_BYTES`].
///
/// Far above any real policy, and the reason why a [`Policy`] needs no second check of its size.
pub const MAX_MX_PATTERNS: usize = 250;

/// The bound on patterns implies the bound on the body.
const _: () = {
    let head = "version: STSv1\r\nmode: enforce\r\nmax_age: 31557600\r\n".len();
    let mx = "mx: \r\n".len() + crate::name::MAX_NAME_BYTES;
    assert!(head + MAX_MX_PATTERNS * mx <= MAX_BODY_BYTES);
};

/// What a domain asks of those who send mail to it
/// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)).
///
/// The fields are open for reading; [`Policy::new`] is what checks that they fit together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What happens to mail when no listed host offers verified TLS.
    pub mode: Mode,
    /// The hosts that may take mail for the domain, in the order of the file. Order means nothing.
    pub mx: Vec<MxPattern>,
    /// How long a sender may use the policy after fetching it, at most [`MAX_AGE_SECONDS`].
    pub max_age_seconds: u32,
}

impl Policy {
    /// A policy that senders accept.
    ///
    /// # Errors
    ///
    /// `max_age_seconds` is over [`MAX_AGE_SECONDS`], there are more patterns than
    /// [`MAX_MX_PATTERNS`], or there is none in a mode other than [`Mode::None`].
    pub fn new(
        mode: Mode,
        mx: Vec<MxPattern>,
        max_age_seconds: u32,
    ) -> Result<Policy, InvalidPolicy> {
        if max_age_seconds > MAX_AGE_SECONDS {
            return Err(InvalidPolicy::MaxAge { seconds: max_age_seconds });
        }
        if mx.is_empty() && mode != Mode::None {
            return Err(InvalidPolicy::NoMx { mode });
        }
        if mx.len() > MAX_MX_PATTERNS {
            return Err(InvalidPolicy::TooManyMx { count: mx.len() });
        }
        Ok(Policy { mode, mx, max_age_seconds })
    }

    /// Renders the file served at [`WELL_KNOWN_PATH`](crate::WELL_KNOWN_PATH).
    ///
    /// One `key: value` per line, `version` first because some senders' documentation asks for it,
    /// one `mx` line per pattern, `max_age` in seconds
    /// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)).
    /// Lines end in CRLF, as that section says in prose; its grammar also allows LF alone.
    ///
    /// The patterns are written in mode `none` too. They mean nothing there, but chasquid 1.11
    /// for one refuses a policy without any, so that a withdrawal would not reach it.
    pub fn render(&self) -> Vec<u8> {
        let mut text = format!("version: STSv1\r\nmode: {}\r\n", self.mode);
        for pattern in &self.mx {
            text.push_str("mx: ");
            text.push_str(pattern.as_str());
            text.push_str("\r\n");
        }
        text.push_str(&format!("max_age: {}\r\n", self.max_age_seconds));
        text.into_bytes()
    }

    /// Whether some pattern covers `host`, the name in an MX record: see [`MxPattern::matches`].
    pub fn covers(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }
}

/// Why the parts of a policy do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Longer than senders accept.
    #[error("max_age is {seconds} seconds: lower it to {MAX_AGE_SECONDS} or less")]
    MaxAge {
        /// The seconds asked for.
        seconds: u32,
    },
    /// Senders would find no host they may deliver to.
    #[error("a policy in mode {mode} lists no mx: add at least one")]
    NoMx {
        /// The mode asked for.
        mode: Mode,
    },
    /// More than fit in a file that senders read to its end.
    #[error("the policy lists {count} mx patterns: reduce them to {MAX_MX_PATTERNS} or fewer")]
    TooManyMx {
        /// How many there are.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<MxPattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_policy_is_rendered_with_version_first_and_crlf() {
        fn check(mode: Mode, mx: &[&str], max_age_seconds: u32, expected: &str) {
            let policy = Policy::new(mode, patterns(mx), max_age_seconds).unwrap();
            assert_eq!(String::from_utf8(policy.render()).unwrap(), expected);
        }
        check(
            Mode::Enforce,
            &["mail.example.com", "*.example.net"],
            604_800,
            "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
             max_age: 604800\r\n",
        );
        check(
            Mode::None,
            &["mail.example.com"],
            86_400,
            "version: STSv1\r\nmode: none\r\nmx: mail.example.com\r\nmax_age: 86400\r\n",
        );
        check(Mode::None, &[], 0, "version: STSv1\r\nmode: none\r\nmax_age: 0\r\n");
    }

    #[test]
    fn a_policy_that_senders_would_refuse_is_not_built() {
        fn check(
            mode: Mode,
            mx: Vec<MxPattern>,
            seconds: u32,
            expected: Result<(), InvalidPolicy>,
        ) {
            assert_eq!(Policy::new(mode, mx, seconds).map(|_| ()), expected);
        }
        let one = || patterns(&["mail.example.com"]);
        let many = |count| vec![one().remove(0); count];

        check(Mode::Enforce, one(), MAX_AGE_SECONDS, Ok(()));
        check(Mode::Testing, many(250), 0, Ok(()));
        check(Mode::None, vec![], 0, Ok(()));
        check(Mode::Enforce, vec![], 0, Err(InvalidPolicy::NoMx { mode: Mode::Enforce }));
        check(Mode::Testing, vec![], 0, Err(InvalidPolicy::NoMx { mode: Mode::Testing }));
        check(Mode::None, many(251), 0, Err(InvalidPolicy::TooManyMx { count: 251 }));
        check(Mode::None, one(), 31_557_601, Err(InvalidPolicy::MaxAge { seconds: 31_557_601 }));
    }

    #[test]
    fn the_most_and_longest_patterns_fit_in_a_file() {
        let label = "a".repeat(63);
        let longest = format!("*.{label}.{label}.{label}.{}", "a".repeat(59));
        let mx = vec![longest.parse().unwrap(); MAX_MX_PATTERNS];
        let policy = Policy::new(Mode::Enforce, mx, MAX_AGE_SECONDS).unwrap();
        let body = policy.render();
        assert!(body.len() <= MAX_BODY_BYTES);
        assert_eq!(Policy::parse(&body).unwrap().policy, policy);
    }

    #[test]
    fn a_policy_covers_what_any_pattern_matches() {
        let mx = patterns(&["mail.example.com", "*.example.net"]);
        let policy = Policy::new(Mode::Enforce, mx, 0).unwrap();
        assert!(policy.covers("mail.example.com."));
        assert!(policy.covers("b.example.net"));
        assert!(!policy.covers("example.net"));
    }
}
