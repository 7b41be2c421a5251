//! What is wrong and the command that mends it, in the same words wherever it is noticed: by a check, or by the run itself.

use std::fmt;

/// A cause with its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub cause: String,
    /// The command that mends it.
    pub mend: String,
    /// What would do as well, in words.
    pub otherwise: Option<String>,
}

impl Advice {
    /// A cause with the command that mends it.
    pub fn new(cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { cause: cause.into(), mend: mend.into(), otherwise: None }
    }

    /// What would do as well, in words.
    #[must_use]
    pub fn or(self, otherwise: impl Into<String>) -> Self {
        Self { otherwise: Some(otherwise.into()), ..self }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.mend)?;
        self.otherwise.as_ref().map_or(Ok(()), |words| write!(f, "; or {words}"))
    }
}
