//! Why a session failed, and what to do about it.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a sender met, from the registry
/// ([RFC 8460 section 4.3](https://www.rfc-editor.org/rfc/rfc8460#section-4.3)), or another word of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResultType {
    /// `starttls-not-supported`
    StarttlsNotSupported,
    /// `certificate-host-mismatch`
    CertificateHostMismatch,
    /// `certificate-not-trusted`
    CertificateNotTrusted,
    /// `certificate-expired`
    CertificateExpired,
    /// `validation-failure`
    ValidationFailure,
    /// `sts-policy-fetch-error`
    StsPolicyFetchError,
    /// `sts-policy-invalid`
    StsPolicyInvalid,
    /// `sts-webpki-invalid`
    StsWebpkiInvalid,
    /// `tlsa-invalid`
    TlsaInvalid,
    /// `dnssec-invalid`
    DnssecInvalid,
    /// `dane-required`
    DaneRequired,
    /// Anything else, as it was written; empty where nothing was. The registry grows
    /// ([RFC 8460 section 6.6](https://www.rfc-editor.org/rfc/rfc8460#section-6.6)).
    Other(String),
}

/// What stands in a report, what it means, and what the owner of the domain can do.
struct Row {
    name: &'static str,
    meaning: &'static str,
    advice: &'static str,
}

const OTHER: Row = Row {
    name: "",
    meaning: "The sender gives a reason that is in no registry.",
    advice: "Look at its reason code and additional information, or ask the sender.",
};

impl ResultType {
    /// Those of the registry.
    pub const REGISTERED: [ResultType; 11] = [
        ResultType::StarttlsNotSupported,
        ResultType::CertificateHostMismatch,
        ResultType::CertificateNotTrusted,
        ResultType::CertificateExpired,
        ResultType::ValidationFailure,
        ResultType::StsPolicyFetchError,
        ResultType::StsPolicyInvalid,
        ResultType::StsWebpkiInvalid,
        ResultType::TlsaInvalid,
        ResultType::DnssecInvalid,
        ResultType::DaneRequired,
    ];

    /// Reads what stands in a report; case and `_` for `-` do not matter.
    pub fn from_text(text: &str) -> ResultType {
        let known = ResultType::REGISTERED.into_iter().find(|known| alike(known.row().name, text));
        known.unwrap_or_else(|| ResultType::Other(text.to_owned()))
    }

    /// The word as it stands in a report.
    pub fn as_str(&self) -> &str {
        match self {
            ResultType::Other(text) => text,
            known => known.row().name,
        }
    }

    /// One sentence that says what happened.
    pub fn meaning(&self) -> &'static str {
        self.row().meaning
    }

    /// One sentence that says what to do.
    pub fn advice(&self) -> &'static str {
        self.row().advice
    }

    fn row(&self) -> Row {
        let row = |name, meaning, advice| Row { name, meaning, advice };
        match self {
            ResultType::StarttlsNotSupported => row(
                "starttls-not-supported",
                "The mail server did not offer STARTTLS.",
                "Switch STARTTLS on at the MX named here, and look for a firewall that removes it.",
            ),
            ResultType::CertificateHostMismatch => row(
                "certificate-host-mismatch",
                "The mail server's certificate is for other names than the policy asks for.",
                "Give the MX a certificate with its own host name, or correct the mx lines of the policy.",
            ),
            ResultType::CertificateNotTrusted => row(
                "certificate-not-trusted",
                "The mail server's certificate comes from an authority that the sender does not know.",
                "Use a certificate of a public authority, and serve its intermediate certificates with it.",
            ),
            ResultType::CertificateExpired => row(
                "certificate-expired",
                "The mail server's certificate has expired.",
                "Renew the certificate of the MX named here, and see that the server loads the new one.",
            ),
            ResultType::ValidationFailure => row(
                "validation-failure",
                "TLS with the mail server failed for a reason that has no name of its own.",
                "Look at the reason code; an MX that the policy does not list is a common cause.",
            ),
            ResultType::StsPolicyFetchError => row(
                "sts-policy-fetch-error",
                "The sender found the record but could not fetch the policy.",
                "See that the policy host answers over HTTPS from outside, without a redirect.",
            ),
            ResultType::StsPolicyInvalid => row(
                "sts-policy-invalid",
                "The sender fetched the policy and could not read it.",
                "Check the policy file line by line; its version, mode, mx and max_age are required.",
            ),
            ResultType::StsWebpkiInvalid => row(
                "sts-webpki-invalid",
                "The policy host's own certificate is not valid.",
                "See that the policy host has an unexpired certificate of a public authority for its name.",
            ),
            ResultType::TlsaInvalid => row(
                "tlsa-invalid",
                "None of the TLSA records matches what the mail server showed.",
                "Publish a TLSA record for the certificate in use, before each change of the certificate.",
            ),
            ResultType::DnssecInvalid => row(
                "dnssec-invalid",
                "DNSSEC of the domain or its mail server could not be validated.",
                "Check the zone's signatures, and its DS record at the parent.",
            ),
            ResultType::DaneRequired => row(
                "dane-required",
                "The sender insists on DANE and found no TLSA record that DNSSEC vouches for.",
                "Publish signed TLSA records for every MX, or agree with this sender on something else.",
            ),
            ResultType::Other(_) => OTHER,
        }
    }
}

/// Whether `text` is `name`, which is in lower case with hyphens.
pub(crate) fn alike(name: &str, text: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == text.len() && name.bytes().eq(text.bytes().map(fold))
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ResultType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_word_is_known_in_any_case() {
        for known in ResultType::REGISTERED {
            let name = known.as_str().to_owned();
            assert_eq!(ResultType::from_text(&name), known);
            assert_eq!(ResultType::from_text(&name.to_uppercase().replace('-', "_")), known);
        }
    }

    #[test]
    fn an_unknown_word_stays_as_it_is() {
        for text in ["Testing", "", "certificate-revoked", "sts_policy"] {
            let result = ResultType::from_text(text);
            assert_eq!(result, ResultType::Other(text.to_owned()));
            assert_eq!(result.as_str(), text);
        }
    }

    #[test]
    fn every_result_is_explained_in_sentences() {
        let other = ResultType::Other("x".to_owned());
        for result in ResultType::REGISTERED.into_iter().chain([other]) {
            for sentence in [result.meaning(), result.advice()] {
                assert!(sentence.ends_with('.') && sentence.len() > 20, "{result}: {sentence}");
            }
        }
    }
}
