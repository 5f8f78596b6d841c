//! What can go wrong with a provider.

/// Steps of a sign-in, as errors name them.
pub(super) const DISCOVERY: &str = "reading its discovery document";
pub(super) const KEYS: &str = "reading its keys";
pub(super) const AUTHORIZATION: &str = "sending a person there";
pub(super) const EXCHANGE: &str = "exchanging the code";
pub(super) const ID_TOKEN: &str = "checking the ID token";
pub(super) const USERINFO: &str = "asking userinfo";

/// A stranger's words are cut to so many characters.
const MAX_WORDS: usize = 200;

/// Why a sign-in failed. No variant holds a token, a code or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The provider does not answer.
    #[error("{step}: {why}")]
    Unanswered {
        /// What was being done.
        step: &'static str,
        /// What happened instead.
        why: String,
    },
    /// The provider says no.
    #[error("{step}: the provider says {words:?}")]
    Refused {
        /// What was being done.
        step: &'static str,
        /// Its words, [clean].
        words: String,
    },
    /// The provider's answer is not to be believed.
    #[error("{step}: {why}")]
    Unbelievable {
        /// What was being done.
        step: &'static str,
        /// Which check failed.
        why: String,
    },
}

/// The provider itself can't be used now, by anybody: said in the log when it was found out, which is
/// not at every call that it fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Down(pub(crate) Failure);

impl Failure {
    pub(super) fn unbelievable(step: &'static str, why: impl AsRef<str>) -> Failure {
        Failure::Unbelievable { step, why: clean(why.as_ref()) }
    }
}

/// A stranger's words as a log or a message may repeat them: on one line, visible, and cut.
pub(super) fn clean(words: &str) -> String {
    let visible = |c: char| if c.is_control() || hides(c) { ' ' } else { c };
    let mut start = words.chars().map(visible);
    let mut cut: String = start.by_ref().take(MAX_WORDS).collect();
    if start.next().is_some() {
        cut.push('…');
    }
    cut.trim().to_owned()
}

/// Characters that turn the direction of what stands beside them, or are not seen.
fn hides(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
