//! What a claim's owner has been told to publish.

use hosting::{Domain, Nonce, cname_target, txt_value};
use wire::bus;

/// Ids that a name has announced before and that are still told from somebody else's.
const MAX_FORMER_IDS: usize = 32;

/// The records of one claim, from control's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) claim_id: String,
    pub(crate) workspace_id: String,
    pub(crate) domain: Domain,
    /// The region's own host, which every claim's target stands under.
    pub(crate) region_host: String,
    /// What this claim is proven by.
    pub(crate) nonce: Nonce,
    /// This claim's CNAME target.
    pub(crate) target: String,
    /// This claim's proof by TXT.
    pub(crate) proof_txt: String,
    /// The announced id; none until the policy is served.
    pub(crate) policy_id: Option<String>,
    pub(crate) former_policy_ids: Vec<String>,
    /// None while the region has no report mailbox.
    pub(crate) reports_uri: Option<String>,
    pub(crate) proven: bool,
}

/// One of the three records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `mta-sts.<domain>`.
    Cname,
    /// `_mta-sts.<domain>`.
    Sts,
    /// `_smtp._tls.<domain>`.
    TlsRpt,
}

/// All three, in the order in which they are shown.
pub(crate) const KINDS: [Kind; 3] = [Kind::Cname, Kind::Sts, Kind::TlsRpt];

/// A document that does not say what to look for.
#[derive(Debug, thiserror::Error)]
#[error("the records document of claim {claim_id} has a wrong {field}")]
pub(crate) struct BadDocument {
    claim_id: String,
    field: &'static str,
}

impl Expected {
    /// # Errors
    /// Names the field that is wrong.
    pub(crate) fn from_document(document: bus::RecordsDocument) -> Result<Expected, BadDocument> {
        let bad = |field| BadDocument { claim_id: document.claim_id.clone(), field };
        let domain = Domain::parse(&document.domain).map_err(|_| bad("domain"))?;
        let nonce: Nonce = document.nonce.parse().map_err(|_| bad("nonce"))?;
        let region_host = document.region_host.trim_end_matches('.').to_ascii_lowercase();
        if region_host.is_empty() || crate::answer::name(&region_host).is_none() {
            return Err(bad("region_host"));
        }
        if document.claim_id.is_empty() {
            return Err(bad("claim_id"));
        }
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Expected {
            target: cname_target(&nonce, &region_host),
            proof_txt: txt_value(&nonce),
            policy_id: some(&document.policy_id),
            reports_uri: some(&document.reports_uri),
            former_policy_ids: document
                .former_policy_ids
                .into_iter()
                .take(MAX_FORMER_IDS)
                .collect(),
            claim_id: document.claim_id,
            workspace_id: document.workspace_id,
            proven: document.proven,
            nonce,
            region_host,
            domain,
        })
    }

    /// Where a record goes.
    pub(crate) fn name(&self, kind: Kind) -> String {
        match kind {
            Kind::Cname => self.domain.policy_host(),
            Kind::Sts => self.domain.record_name(),
            Kind::TlsRpt => self.domain.tls_rpt_name(),
        }
    }

    /// What goes there; empty while there is nothing to publish.
    pub(crate) fn value(&self, kind: Kind) -> String {
        let value = match kind {
            Kind::Cname => Some(self.target.clone()),
            Kind::Sts => self.policy_id.as_ref().map(|id| format!("v=STSv1; id={id};")),
            Kind::TlsRpt => self.reports_uri.as_ref().map(|uri| format!("v=TLSRPTv1; rua={uri}")),
        };
        value.unwrap_or_default()
    }
}

impl Kind {
    /// The record's type as people write it.
    pub(crate) fn record_type(self) -> &'static str {
        match self {
            Kind::Cname => "CNAME",
            Kind::Sts | Kind::TlsRpt => "TXT",
        }
    }

    /// What stands before the domain.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Cname => "mta-sts",
            Kind::Sts => "_mta-sts",
            Kind::TlsRpt => "_smtp._tls",
        }
    }

    /// For the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Cname => "cname",
            Kind::Sts => "sts",
            Kind::TlsRpt => "tls_rpt",
        }
    }
}
