//! Keeps what a run was built of in Nix's store: collecting garbage harms neither the run nor a
//! rerun as long as its directory is there.

use std::path::Path;

use crate::{language, store::RunDir};

/// Keeps a path in the store for a run. Returns a warning where it cannot be kept; the link is
/// there all the same, so that it is known what the run is of.
pub(super) async fn keep(run: &RunDir, path: Option<&Path>) -> Option<String> {
    let path = path?;
    let link = run.workflow();
    let error = language::keep(path, &link).await.err()?;
    // Where it cannot be made, a rerun does not keep it either, and warns again of nothing.
    let _ = std::os::unix::fs::symlink(path, &link);
    Some(format!(
        "warning: `{}` cannot be kept from Nix's garbage collector ({error}); if it collects, jobs that have not begun and a rerun will fail",
        path.display()
    ))
}
