//! What to tell people about a record: a stable code for scripts, a sentence with one thing to do.

use crate::answer::Failure;
use crate::foreign::plain;

/// A code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Stable: scripts compare it.
    pub(crate) code: String,
    /// For people; plain, and at most as long as what is shown as found, as it may repeat it.
    pub(crate) sentence: String,
}

impl Hint {
    fn new(code: &str, sentence: impl AsRef<str>) -> Hint {
        Hint { code: code.to_owned(), sentence: plain(sentence.as_ref()) }
    }

    pub(crate) fn waiting_for_edges() -> Hint {
        Hint::new(
            "WAITING_FOR_EDGES",
            "Waiting until the policy is served; nothing to publish yet.",
        )
    }

    pub(crate) fn zone_appended_twice(label: &str, domain: &str) -> Hint {
        Hint::new(
            "ZONE_APPENDED_TWICE",
            format!(
                "It is published at {label}.{domain}.{domain}. Your provider adds {domain} \
                 itself: enter only {label} as the name."
            ),
        )
    }

    pub(crate) fn at_apex(label: &str, domain: &str) -> Hint {
        Hint::new(
            "AT_APEX",
            format!("The record is at {domain} itself. Its name has to be {label}."),
        )
    }

    /// `UNDERSCORE_MISSING` or `UNDERSCORE_EXTRA`: one sentence for both.
    pub(crate) fn underscore(code: &str) -> Hint {
        Hint::new(
            code,
            "The TXT goes at _mta-sts (with underscore), the CNAME at mta-sts (without).",
        )
    }

    pub(crate) fn domain_gone(domain: &str) -> Hint {
        Hint::new("DOMAIN_GONE", format!("{domain} no longer exists in DNS. Has it expired?"))
    }

    pub(crate) fn multiple_sts_records(count: usize, ours: &str) -> Hint {
        Hint::new(
            "MULTIPLE_STS_RECORDS",
            format!(
                "There are {count} records that begin with v=STSv1. Senders then act as if there \
                 were none: delete all but {ours}"
            ),
        )
    }

    pub(crate) fn old_id() -> Hint {
        Hint::new(
            "OLD_ID",
            "The policy has changed since. Update the id so that senders fetch the new version.",
        )
    }

    pub(crate) fn other_id() -> Hint {
        Hint::new("OTHER_ID", "The id is not ours: another system may be managing this record.")
    }

    pub(crate) fn unrelated_txt() -> Hint {
        Hint::new(
            "UNRELATED_TXT",
            "Other TXT records share this name. Senders skip them, some tools complain.",
        )
    }

    pub(crate) fn no_sts_record(ours: &str) -> Hint {
        Hint::new(
            "NO_STS_RECORD",
            format!("None of the TXT records here is for MTA-STS: add {ours}"),
        )
    }

    pub(crate) fn no_tls_rpt_record(ours: &str) -> Hint {
        Hint::new(
            "NO_TLSRPT_RECORD",
            format!("None of the TXT records here is for TLS-RPT: add {ours}"),
        )
    }

    pub(crate) fn quotes_in_value() -> Hint {
        Hint::new(
            "QUOTES_IN_VALUE",
            "The quotation marks are part of the value. Enter it without them.",
        )
    }

    pub(crate) fn backslash_semicolon() -> Hint {
        Hint::new(
            "BACKSLASH_SEMICOLON",
            "Your provider kept the backslash before “;”. Enter a plain semicolon.",
        )
    }

    pub(crate) fn wrong_case(right: &str) -> Hint {
        Hint::new("WRONG_CASE", format!("Capitals matter: it has to read {right}."))
    }

    /// `SPACES` or `BAD_SYNTAX`.
    pub(crate) fn syntax(code: &str, what: &str) -> Hint {
        Hint::new(code, format!("Senders can't read this: {what}."))
    }

    pub(crate) fn bad_id() -> Hint {
        Hint::new("BAD_ID", "An id is 1 to 32 letters and digits.")
    }

    pub(crate) fn cname_other_target(found: &str, target: &str) -> Hint {
        Hint::new("CNAME_OTHER_TARGET", format!("It points to {found}, not {target}."))
    }

    pub(crate) fn unproven_alias(found: &str, target: &str) -> Hint {
        Hint::new(
            "CNAME_OTHER_TARGET",
            format!(
                "It points to {found}, which doesn't prove that the domain is yours: use {target}."
            ),
        )
    }

    pub(crate) fn cname_target_doubled(domain: &str) -> Hint {
        Hint::new(
            "CNAME_TARGET_DOUBLED",
            format!(
                "The target got {domain} appended. End it with a dot, or leave the dot out if \
                 your provider forbids it."
            ),
        )
    }

    pub(crate) fn flattened(proven: bool, proof_name: &str, proof_txt: &str) -> Hint {
        let rest = match proven {
            true => {
                "It works today and breaks when the region moves: prefer a plain CNAME.".to_owned()
            }
            false => format!(
                "That doesn't prove that the domain is yours: use a plain CNAME, or add the TXT \
                 record {proof_name} with {proof_txt}"
            ),
        };
        let sentence = format!("Your provider answers with addresses instead of the CNAME. {rest}");
        Hint::new("FLATTENED", sentence)
    }

    pub(crate) fn a_record(name: &str) -> Hint {
        Hint::new(
            "A_RECORD",
            format!("There is an A/AAAA record for {name}. Remove it and add the CNAME."),
        )
    }

    pub(crate) fn cname_loop() -> Hint {
        Hint::new("CNAME_LOOP", "The CNAME leads in a circle.")
    }

    pub(crate) fn cname_chain_long() -> Hint {
        let most = crate::answer::MAX_ALIASES;
        Hint::new(
            "CNAME_CHAIN_LONG",
            format!("The CNAME leads through more than {most} names; shorten it."),
        )
    }

    pub(crate) fn alias_to_nothing(target: &str) -> Hint {
        Hint::new(
            "ALIAS_TO_NOTHING",
            format!("A CNAME leads to {target}, where there is no TXT record."),
        )
    }

    pub(crate) fn name_servers_disagree(count: usize, of: usize, server: &str) -> Hint {
        Hint::new(
            "NAME_SERVERS_DISAGREE",
            format!(
                "{count} of {of} name servers still have something else. Usual for a few \
                 minutes; if it stays, look at {server}."
            ),
        )
    }

    pub(crate) fn cached_old() -> Hint {
        Hint::new(
            "CACHED_OLD",
            "Live at your name servers. Some resolvers still keep the old value for a while.",
        )
    }

    pub(crate) fn negative_cache() -> Hint {
        Hint::new(
            "NEGATIVE_CACHE",
            "Live at your name servers. A resolver still remembers that there was nothing.",
        )
    }

    pub(crate) fn lame_delegation(server: &str, domain: &str) -> Hint {
        let sentence = format!("{server} is listed for {domain} but doesn't answer for it.");
        Hint::new("LAME_DELEGATION", sentence)
    }

    pub(crate) fn tls_rpt_multiple(count: usize, merged: &str) -> Hint {
        Hint::new(
            "TLSRPT_MULTIPLE",
            format!(
                "There are {count} TLS-RPT records; senders ignore them all. Keep one: {merged}"
            ),
        )
    }

    pub(crate) fn tls_rpt_other_rua(found: &str, merged: &str) -> Hint {
        Hint::new(
            "TLSRPT_OTHER_RUA",
            format!("Reports go to {found}. To get them here too, publish: {merged}"),
        )
    }

    /// Why there was no answer.
    pub(crate) fn of_failure(failure: &Failure, server: &str, domain: &str) -> Hint {
        let servers = format!("The name servers of {domain}");
        match failure {
            Failure::Timeout | Failure::Unreachable(_) => {
                Hint::new("TIMEOUT", format!("{servers} didn't answer."))
            }
            Failure::Refused => Hint::new("REFUSED", format!("{servers} refused to answer.")),
            Failure::Lame | Failure::ReferralsDiffer => Hint::lame_delegation(server, domain),
            Failure::Bogus => Hint::new(
                "DNSSEC_BOGUS",
                format!("DNSSEC for {domain} is broken: validating senders find nothing at all."),
            ),
            Failure::NoZone(_)
            | Failure::NoAddress(_)
            | Failure::BadAlias(_)
            | Failure::TooManyServers(_)
            | Failure::TooManyQuestions => {
                Hint::new("NO_NAME_SERVERS", format!("{servers} can't be found."))
            }
            Failure::ServerFailed | Failure::Code(_) | Failure::Malformed(_) | Failure::At(..) => {
                Hint::new("SERVFAIL", format!("{servers} answered with an error."))
            }
        }
    }
}
