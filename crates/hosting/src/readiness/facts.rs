//! What readiness is judged by: plain data, gathered elsewhere.

use jiff::Timestamp;

use crate::mx::LiveMx;

/// Everything that [`assess`](crate::assess) wants to know beside the claim itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The CNAME at the policy host.
    pub cname: RecordFact,
    /// The TXT at `_mta-sts`, compared with the id announced.
    pub txt: RecordFact,
    /// The TXT at `_smtp._tls`.
    pub tls_rpt: RecordFact,
    /// The MX records.
    pub mx: Fact<MxLookup>,
    /// One for each live edge of the region.
    pub certificates: Fact<Vec<EdgeCertificate>>,
    /// How many live edges serve the newest version.
    pub edges: Fact<Edges>,
    /// Fetches by senders in the last seven days, our own probes not counted.
    pub fetches: Fact<Fetches>,
    /// Verified reports of known reporters in the last 28 days.
    pub reports: Fact<Reports>,
    /// What a sender meets at each live MX.
    pub mx_tls: Fact<Vec<MxTls>>,
}

/// Something that may not be known, and then why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// It is.
    Known(T),
    /// It could not be found out. Never taken for good news.
    Unknown {
        /// In words for the user: `intake is not answering`.
        why: String,
    },
}

impl<T> Fact<T> {
    /// Not known, for this reason.
    pub fn unknown(why: impl Into<String>) -> Fact<T> {
        Fact::Unknown { why: why.into() }
    }
}

/// What senders find of one DNS record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFact {
    /// As it was when last seen.
    pub status: RecordStatus,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// When a lookup last succeeded; one that fails leaves it, and the status, as they are.
    pub checked_at: Option<Timestamp>,
}

/// How what senders find compares with what we ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordStatus {
    /// They find it.
    Live,
    /// They find something else.
    Mismatch {
        /// What they find.
        found: String,
    },
    /// They find nothing.
    NotPublished,
    /// There is nothing to publish: the region has no mailbox for reports.
    RegionIntakeNotConfigured,
    /// Nobody has been able to look yet.
    Unknown {
        /// In words for the user.
        why: String,
    },
}

/// The MX records, and when they were looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxLookup {
    /// What DNS said.
    pub mx: LiveMx,
    /// When.
    pub looked_up_at: Timestamp,
}

/// The certificate that one edge has for the policy host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeCertificate {
    /// Which edge.
    pub edge: String,
    /// When its certificate expires; `None`: it has none.
    pub not_after: Option<Timestamp>,
}

/// How far the edges of the region are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edges {
    /// Edges that are alive.
    pub live: u32,
    /// Those of them that durably serve the newest version.
    pub current: u32,
}

/// What senders fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetches {
    /// Answers with the policy.
    pub count: u64,
    /// On how many of the seven days there was one.
    pub days: u32,
}

/// What reports say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    /// On how many of the 28 days there is one.
    pub days: u32,
    /// How many organisations sent them.
    pub organizations: u32,
    /// Sessions they tell of.
    pub sessions: u64,
    /// Those of them that failed by policy or certificate.
    pub failed_sessions: u64,
    /// When the last one failed.
    pub last_failure_at: Option<Timestamp>,
    /// By which result types, the most frequent first: `certificate-expired`.
    pub failure_reasons: Vec<String>,
}

/// What a strict sender meets at one MX host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxTls {
    /// The host.
    pub host: String,
    /// What it meets.
    pub found: MxTlsFound,
}

/// The result of trying STARTTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MxTlsFound {
    /// A certificate that is valid for the host's name until then.
    ValidUntil(Timestamp),
    /// Something that a sender would refuse.
    Problem(String),
    /// No connection from here, which says nothing about others: port 25 is often closed outwards.
    Unreachable(String),
}
