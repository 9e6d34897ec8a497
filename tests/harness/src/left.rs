//! Checks that a run leaves nothing behind but its directory.
//!
//! Asks systemd, the control groups and the list of processes; knows how a run's units are named.

use std::{fs, path::Path};

use nix::sys::signal::Signal;

use crate::{
    CommandExt as _, Finished, Kind, Manager, RUN_DEADLINE, SOON,
    process::{field, processes},
    wait::wait_for,
};

impl Finished {
    /// Panics unless all of the run is gone but its directory: units, slices, control groups and
    /// processes, and its private manager.
    pub fn leaves_nothing(&self, manager: &Manager) {
        let slice = format!("nixactions-{}", self.id.replace('-', "\\x2d"));
        let service = format!("nixactions-{}", self.id);
        wait_for(
            SOON,
            &format!("the processes of {} to be gone", self.id),
            || {
                let is_of_run = |pid: &i32| {
                    let groups = field(*pid, "cgroup");
                    let parts = groups.split(['/', '\n']);
                    manager.holds(*pid)
                        && parts
                            .into_iter()
                            .any(|part| part.starts_with(&slice) || part.starts_with(&service))
                };
                processes().iter().all(|pid| !is_of_run(pid)).then_some(())
            },
        );
        if let Some(machine) = manager.machine() {
            wait_for(
                SOON,
                &format!("the control groups of {} to be gone", self.id),
                || {
                    let mut found = Vec::new();
                    groups(&machine.cgroup(), &mut |name| {
                        found.push(name.starts_with(&slice) || name.starts_with(&service))
                    });
                    (!found.contains(&true)).then_some(())
                },
            );
        }
        if manager.kind() != Kind::Embedded {
            // A backslash stands for itself here, unlike in glob(7).
            let patterns = [format!("{service}*"), format!("{slice}*")];
            wait_for(
                SOON,
                &format!("the units of {} to be unloaded", self.id),
                || {
                    patterns
                        .iter()
                        .all(|pattern| manager.units(pattern).is_empty())
                        .then_some(())
                },
            );
        }
    }
}

impl Manager {
    /// Waits until no run of a start that was given up is left, after a signal to its client. A run
    /// that was started goes on without its client, unless the signal was Ctrl-C: it is cancelled.
    /// A client that was killed leaves a run that only `clean` removes.
    pub fn settle(&self, signal: Signal) {
        for id in self.runs() {
            let directory = self.run_dir(&id);
            let run = self.run_of(&id);
            if directory.join("run.json").exists() && signal != Signal::SIGINT && !run.has_ended() {
                self.nixactions(&["cancel", "--kill", &id])
                    .output_within(SOON);
            }
            wait_for(
                RUN_DEADLINE,
                &format!("the end of {id} after {signal}"),
                || {
                    if signal == Signal::SIGKILL && !run.has_ended() {
                        self.nixactions(&["clean", "--keep=9"]).output_within(SOON);
                    }
                    (run.has_ended() || !directory.exists()).then_some(())
                },
            );
        }
    }
}

/// Calls `visit` with the name of each control group below `directory`.
fn groups(directory: &Path, visit: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        visit(&entry.file_name().to_string_lossy());
        groups(&entry.path(), visit);
    }
}
