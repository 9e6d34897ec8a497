//! Keeps a run's build and its package of nixactions in Nix's store. Nix's garbage collector then
//! removes nothing that the run needs. While the run's directory exists, it removes nothing that a
//! rerun needs.

use std::path::Path;

use crate::{language, store::RunDir};

/// Keeps a path in the store for a run. Returns a warning if that fails. The link is made in any
/// case, to record the run's build.
pub(super) async fn add(run: &RunDir, path: Option<&Path>) -> Option<String> {
    let path = path?;
    let link = run.workflow();
    let error = language::add_gc_root(path, &link).await.err()?;
    // Without the link, a rerun does not keep the build either, and does not warn again.
    let _ = std::os::unix::fs::symlink(path, &link);
    Some(format!(
        "warning: failed to protect `{}` from Nix's garbage collector ({error}); if the collector runs, jobs that have not begun and a rerun will fail",
        path.display()
    ))
}

/// Keeps the package of this program in the store while a run goes on, since each job starts with a
/// program of the package. Returns a warning if that fails.
pub(super) async fn add_package(run: &RunDir, program: &Path) -> Option<String> {
    let path = language::store_path(program)?;
    let added = language::add_gc_root(&path, &run.package()).await;
    if run.record().exists() {
        // The run has ended, and has found no link to remove.
        run.release_package();
    }
    let error = added.err()?;
    Some(format!(
        "warning: failed to protect `{}` from Nix's garbage collector ({error}); if the collector removes it, jobs that have not begun will fail",
        path.display()
    ))
}
