//! Why a text is no domain.

use super::MAX_DOMAIN_BYTES;

/// A text that is no domain for us, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use \"{input}\": {reason}")]
pub struct InvalidDomain {
    /// The text: cut, and with its control and invisible characters escaped.
    pub input: String,
    /// What is wrong with it.
    pub reason: DomainProblem,
}

/// What keeps a text from being a [`Domain`](super::Domain). Each sentence says what to enter instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainProblem {
    /// Nothing was entered.
    #[error("nothing was entered; enter a domain such as example.com")]
    Empty,
    /// A scheme, a path or a query.
    #[error("this is a web address; enter the domain alone, such as example.com")]
    Url,
    /// An `@`.
    #[error("this is an e-mail address; enter what follows the @")]
    EmailAddress,
    /// A port after a colon.
    #[error("leave out the colon and the port")]
    Port,
    /// IPv4 or IPv6, in any spelling.
    #[error("this is an IP address; enter the domain that stands after the @ in your e-mail")]
    IpAddress,
    /// A `*`.
    #[error("a wildcard is not a domain; add each domain that receives mail by itself")]
    Wildcard,
    /// Such as `_dmarc.example.com`.
    #[error("a name with an underscore holds a DNS record; enter the domain that it belongs to")]
    Underscore,
    /// Blanks or line ends within the name.
    #[error("there is a blank or a line end in it; enter one domain without blanks")]
    Blank,
    /// Control characters, direction marks, joiners and others that cannot be seen.
    #[error(
        "it holds the invisible character U+{code:04X}; type the name anew, or enter its form \
         that begins with xn--"
    )]
    Invisible {
        /// Its Unicode code point.
        code: u32,
    },
    /// Two dots in a row, or one at the start.
    #[error("there is a dot too many; enter it as in example.com")]
    EmptyLabel,
    /// A hyphen where none may be.
    ///
    /// Certificate authorities refuse two hyphens in third and fourth place too, save for `xn--`.
    #[error(
        "a part of it begins or ends with a hyphen, or has two as its third and fourth \
         character; correct the spelling"
    )]
    Hyphen,
    /// A label over 63 bytes
    /// ([RFC 1035 section 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)).
    #[error("a part between two dots is longer than 63 bytes; shorten it")]
    LongLabel,
    /// Over [`MAX_DOMAIN_BYTES`].
    #[error(
        "it is too long; enter a domain of at most {MAX_DOMAIN_BYTES} bytes, so that the names \
         under it fit into DNS"
    )]
    TooLong,
    /// `xn--` followed by what decodes to nothing valid.
    #[error("its xn-- part stands for no valid name; enter the name in its own letters")]
    Punycode,
    /// A character that no domain has.
    #[error("only letters, digits, hyphens and dots can be in a domain; remove the others")]
    Character,
    /// Such as `localhost` or `com`.
    #[error("this is one word; enter a whole domain such as example.com")]
    SingleLabel,
    /// A suffix under which a registry registers domains, such as `co.uk`.
    #[error("domains are registered below {suffix}; enter yours, such as example.{suffix}")]
    PublicSuffix {
        /// The suffix.
        suffix: String,
    },
    /// A suffix under which a company gives names to its customers, such as `github.io`.
    #[error(
        "{suffix} belongs to a company that gives names below it to others; enter your own name \
         below it, such as example.{suffix}"
    )]
    PrivateSuffix {
        /// The suffix.
        suffix: String,
    },
    /// Such as `mta-sts.example.com`: it serves a policy and has none.
    #[error("this is the host that serves a policy; enter the domain itself, {domain}")]
    PolicyHost {
        /// The domain whose policy it serves.
        domain: String,
    },
}
