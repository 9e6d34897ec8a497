//! Checks executors and their settings.

use super::names::Names;
use crate::{
    fault::{At, Refusal, Sink, quoted},
    ids::JobName,
    model::{DEFAULT_EXECUTOR, Executor, Plan},
    structure::NAME_FORM,
};

pub(super) fn check(plan: &Plan, names: &Names<'_>, at: &At<'_>, sink: &mut Sink) {
    for (name, executor) in &plan.executors {
        let at = at.key(name);
        if name == DEFAULT_EXECUTOR {
            let refusal = Refusal::new(format!("the name `{DEFAULT_EXECUTOR}`"), "another name");
            sink.add(&at, || refusal.hint("jobs without an `executor` use it"));
        } else if let Err(error) = JobName::try_from(name.clone()) {
            sink.add(&at, || {
                Refusal::new(quoted(name), NAME_FORM).hint(error.to_string())
            });
        } else {
            super::unit_name(plan, name, &at, sink);
        }
        match executor {
            Executor::Systemd { properties, .. } | Executor::Nspawn { properties, .. } => {
                super::properties(properties, &at.key("properties"), sink);
                super::containers::check(executor, names, &at, sink);
                if matches!(executor, Executor::Systemd { nix: true, .. })
                    && executor.container().is_some()
                {
                    sink.add(&at.key("nix"), || {
                        Refusal::new("`nix` beside a root file system", "one of the two")
                            .hint("jobs that build with the host's Nix daemon run on the host")
                    });
                }
            }
            Executor::Hooks {
                setup_workspace,
                cleanup_workspace,
                setup_job,
                execute_job,
                cleanup_job,
                save_artifact,
                restore_artifact,
                copy_repo: _,
            } => {
                let hooks = [
                    ("setupWorkspace", setup_workspace),
                    ("cleanupWorkspace", cleanup_workspace),
                    ("setupJob", setup_job),
                    ("executeJob", execute_job),
                    ("cleanupJob", cleanup_job),
                    ("saveArtifact", save_artifact),
                    ("restoreArtifact", restore_artifact),
                ];
                for (hook, argv) in hooks {
                    if let Some(argv) = argv {
                        super::argv(argv, &at.key(hook), sink);
                    }
                }
                if execute_job.is_none() {
                    sink.add(&at.key("executeJob"), || {
                        Refusal::new(
                            "nothing",
                            "an executable and its arguments (it is required)",
                        )
                    });
                }
            }
        }
    }
}
