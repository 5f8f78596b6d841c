//! What a policy asks of senders.

use std::fmt;
use std::str::FromStr;

/// What a sender does when no listed host offers verified TLS
/// ([RFC 8461 section 5](https://www.rfc-editor.org/rfc/rfc8461#section-5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It keeps the message and tries again later.
    Enforce,
    /// It delivers all the same, and reports the failure where TLS reporting is on.
    Testing,
    /// It acts as if there were no policy. This is how one is withdrawn
    /// ([RFC 8461 section 8.3](https://www.rfc-editor.org/rfc/rfc8461#section-8.3)).
    None,
}

impl Mode {
    /// The word in the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        match text {
            "enforce" => Ok(Mode::Enforce),
            "testing" => Ok(Mode::Testing),
            "none" => Ok(Mode::None),
            _ => Err(InvalidMode),
        }
    }
}

/// A text that is none of the three modes, or not in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such mode: write enforce, testing or none, in lower case")]
pub struct InvalidMode;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_one_of_three_words() {
        fn check(text: &str, expected: Result<Mode, InvalidMode>) {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
        check("enforce", Ok(Mode::Enforce));
        check("testing", Ok(Mode::Testing));
        check("none", Ok(Mode::None));
        check("", Err(InvalidMode));
        check("Enforce", Err(InvalidMode));
        check("enforce ", Err(InvalidMode));
        check("report", Err(InvalidMode));
    }

    #[test]
    fn a_mode_reads_what_it_writes() {
        for mode in [Mode::Enforce, Mode::Testing, Mode::None] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }
}
