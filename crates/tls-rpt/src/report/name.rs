//! The names of a report's fields, as they should be and as they are.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::read::Notes;
use crate::oddity::Oddity;
use crate::result_type::alike;

/// The fields that a report has, wherever in it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Name {
    Organization,
    DateRange,
    StartDatetime,
    EndDatetime,
    ContactInfo,
    ReportId,
    Policies,
    Policy,
    PolicyType,
    PolicyString,
    PolicyDomain,
    MxHost,
    Summary,
    Successful,
    Failed,
    FailureDetails,
    ResultType,
    SendingMtaIp,
    ReceivingMxHostname,
    ReceivingMxHelo,
    ReceivingIp,
    FailedSessions,
    AdditionalInformation,
    FailureReasonCode,
    /// Any other, of which there may be several.
    Unknown,
}

impl Name {
    /// The name as RFC 8460 has it.
    fn exact(key: &str) -> Option<Name> {
        Some(match key {
            "organization-name" => Name::Organization,
            "date-range" => Name::DateRange,
            "start-datetime" => Name::StartDatetime,
            "end-datetime" => Name::EndDatetime,
            "contact-info" => Name::ContactInfo,
            "report-id" => Name::ReportId,
            "policies" => Name::Policies,
            "policy" => Name::Policy,
            "policy-type" => Name::PolicyType,
            "policy-string" => Name::PolicyString,
            "policy-domain" => Name::PolicyDomain,
            "mx-host" => Name::MxHost,
            "summary" => Name::Summary,
            "total-successful-session-count" => Name::Successful,
            "total-failure-session-count" => Name::Failed,
            "failure-details" => Name::FailureDetails,
            "result-type" => Name::ResultType,
            "sending-mta-ip" => Name::SendingMtaIp,
            "receiving-mx-hostname" => Name::ReceivingMxHostname,
            "receiving-mx-helo" => Name::ReceivingMxHelo,
            "receiving-ip" => Name::ReceivingIp,
            "failed-session-count" => Name::FailedSessions,
            "additional-information" => Name::AdditionalInformation,
            "failure-reason-code" => Name::FailureReasonCode,
            _ => return None,
        })
    }

    /// The name as drafts of the RFC and some senders have it.
    fn unusual(key: &str) -> Option<Name> {
        const SPELLINGS: [(&str, Name); 6] = [
            ("mx-host-pattern", Name::MxHost),
            ("mx-hosts", Name::MxHost),
            ("receiving-mx-host-name", Name::ReceivingMxHostname),
            ("additional-info-uri", Name::AdditionalInformation),
            ("additional-info", Name::AdditionalInformation),
            ("failure-error-code", Name::FailureReasonCode),
        ];
        /// Longest of the names above and in the RFC.
        const LONGEST: usize = "total-successful-session-count".len();

        let key = key.trim();
        if key.len() > LONGEST {
            return None;
        }
        let known = SPELLINGS.into_iter().find(|(spelling, _)| alike(spelling, key));
        known
            .map(|(_, name)| name)
            .or_else(|| Name::exact(&key.to_ascii_lowercase().replace('_', "-")))
    }
}

/// Reads one key of an object.
pub(super) struct Key<'r>(pub(super) &'r mut Notes);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Name, E> {
        if let Some(name) = Name::exact(key) {
            return Ok(name);
        }
        let name = Name::unusual(key);
        if name.is_some() {
            self.0.note(Oddity::UnusualKey);
        }
        Ok(name.unwrap_or(Name::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_other_spellings() {
        fn check(key: &str, expected: Option<Name>) {
            assert!(Name::exact(key).or_else(|| Name::unusual(key)) == expected, "{key:?}");
        }
        check("policy-type", Some(Name::PolicyType));
        check("Policy-Type", Some(Name::PolicyType));
        check("policy_type", Some(Name::PolicyType));
        check(" policy-type ", Some(Name::PolicyType));
        check("TOTAL_SUCCESSFUL_SESSION_COUNT", Some(Name::Successful));
        check("receiving-mx-host-name", Some(Name::ReceivingMxHostname));
        check("mx-host-pattern", Some(Name::MxHost));
        check("additional-info-uri", Some(Name::AdditionalInformation));
        check("policytype", None);
        check("", None);
        check(&"policy-type".repeat(1000), None);
    }
}
