//! Why a text is not an expression, and where.

use std::fmt;

/// Why a text is not an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The byte at which it is wrong.
    pub at: usize,
    /// The text at that place.
    pub found: String,
}

impl SyntaxError {
    pub(crate) fn new(at: usize, found: impl Into<String>) -> Self {
        Self {
            at,
            found: found.into(),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.found)
    }
}

impl std::error::Error for SyntaxError {}
