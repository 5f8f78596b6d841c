//! What a test returns: nothing, or a failure that a person can read.

use std::error::Error;
use std::fmt;

/// The result of a test and of everything the harness does.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a test failed, as text.
///
/// The test runner prints the `Debug` form of an error, which for most types is one line full of
/// `\n`. This one prints as written. It takes any error through `?`, with its sources.
pub struct Failure(String);

impl Failure {
    /// A failure that says `what` went wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The same failure, after a line that says what was being done.
    #[must_use]
    pub fn during(self, doing: impl fmt::Display) -> Self {
        Self(format!("{doing}: {}", self.0))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Failure` is no `Error` itself, or this would collide with `From<T> for T`.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text += &format!(": {inner}");
            source = inner.source();
        }
        Self(text)
    }
}
