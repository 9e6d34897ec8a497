//! Notes to the user while a start goes on, on standard error.

use std::io::{self, Write as _};

/// Tells the user why the start has to wait.
pub(super) fn note(said: &str) {
    let _ = writeln!(io::stderr(), "note: {said}");
}
