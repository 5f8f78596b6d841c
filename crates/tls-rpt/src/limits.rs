//! Every bound, and why it is what it is.
//!
//! Together they keep one mail under 256 MiB of memory and two seconds of one core, its own bytes
//! included, whatever is in it. Real reports stay far below each: the largest we know of has a
//! few thousand failure details.
//!
//! Bounds on what is in a report hold for all reports of one mail together, so that twenty
//! reports cost no more than one.

/// Longest raw mail that is looked at. Receivers commonly take 10 MB
/// ([RFC 8460 section 5.2](https://www.rfc-editor.org/rfc/rfc8460#section-5.2)), large providers 25.
pub const MAX_MAIL_BYTES: usize = 25 * MIB;

/// Most parts of one mail. A report comes in two or three; a forwarding list adds a few.
pub const MAX_PARTS: usize = 100;

/// Deepest nesting of parts. Each level costs a pass over what it holds, and a frame of the stack.
pub const MAX_PART_LEVELS: usize = 16;

/// Longest header field that is read, of those that we read at all. Far beyond a real one, and
/// short enough that a field made of ten thousand parameters costs nothing.
pub const MAX_FIELD_BYTES: usize = 8 * KIB;

/// Longest body of one part, or of a POST, as it was before anything is unpacked.
pub const MAX_PACKED_BYTES: usize = 10 * MIB;

/// Most bytes that come out of all bodies of one mail together.
pub const MAX_UNPACKED_BYTES: usize = 32 * MIB;

/// How many times larger than packed a body may get once it is past [`RATIO_FREE_BYTES`].
/// JSON with a hundred thousand alike details packs about fifty times; gzip could do a thousand.
pub const MAX_RATIO: usize = 200;

/// Up to here a body may unpack at any ratio: a small report with many zeros is no bomb.
pub const RATIO_FREE_BYTES: usize = MIB;

/// How often a body may be packed in itself. Once is right, twice has been seen of gateways that
/// pack what leaves them.
pub const MAX_LAYERS: usize = 2;

/// Most members of one gzip file. Each costs a decoder.
pub const MAX_MEMBERS: usize = 64;

/// Most reports of one mail. One is right.
pub const MAX_REPORTS: usize = 20;

/// Deepest nesting of JSON below a field. A report has six levels in all.
pub const MAX_JSON_LEVELS: usize = 32;

/// Most policies. A report has one per policy that the sender saw, a DANE sender one per domain.
pub const MAX_POLICIES: usize = 10_000;

/// Most failure details that are kept; of what comes beyond, number and sessions are summed up.
pub const MAX_DETAILS: usize = 100_000;

/// Most entries of one list of texts (`policy-string`, `mx-host`) that are kept. A policy file of
/// 64 KiB has about as many lines as its `mx` fit, with names of 200 bytes.
pub const MAX_LINES: usize = 300;

/// Most entries of all such lists together that are kept.
pub const MAX_LINES_IN_ALL: usize = 100_000;

/// Longest text that is kept; the rest is cut off. An `additional-information` is a URL, which
/// browsers cut at about this length; ids and reason codes are shorter by far.
pub const MAX_TEXT_BYTES: usize = 2 * KIB;

/// Largest count of sessions, at which greater ones stop: the largest integer that all readers of
/// JSON agree on ([RFC 8259 section 6](https://www.rfc-editor.org/rfc/rfc8259#section-6)). A
/// thousand of them still add up in a signed 64-bit column.
pub const MAX_COUNT: u64 = (1 << 53) - 1;

/// Longest span of dates that is believed. Reports cover a day
/// ([RFC 8460 section 4.1](https://www.rfc-editor.org/rfc/rfc8460#section-4.1)); some senders can be
/// set to an hour or a week.
pub const MAX_RANGE_DAYS: i64 = 31;

/// Age from which on a report tells nothing about today. Nothing that we show goes back farther.
pub const MAX_AGE_DAYS: i64 = 365;

/// How far ahead of us a report may end: a clock that is set to local time, anywhere on earth.
pub const MAX_AHEAD_HOURS: i64 = 24;

/// Longest TLS-RPT record that we propose to publish. With it the answer still fits in the 1,232
/// bytes that resolvers take over UDP.
pub const MAX_RECORD_BYTES: usize = 1_000;

/// Most targets of a record that are read. Senders may stop after the first.
pub const MAX_TARGETS: usize = 32;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
