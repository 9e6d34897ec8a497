//! The disturbances of a run: what happens to it while its jobs run, and what that permits.

use std::{collections::BTreeSet, path::Path};

use nix::{sys::signal::kill, unistd::Pid};
use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, RUN_DEADLINE, Run, SOON, Signal, wait_for,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;

/// Something that happens to a run.
#[derive(Debug, Clone)]
pub enum Act {
    /// The client is killed; another one attaches later.
    KillClient,
    /// The supervisor is killed.
    KillSupervisor,
    /// The runner of one of the jobs that run is killed.
    KillRunner(Index),
    /// Somebody cancels the run.
    Cancel,
    /// systemd reads its units again.
    Reload,
    /// systemd executes itself anew.
    Reexecute,
    /// The private systemd is killed, as if the machine lost its power. Other managers are left
    /// alone.
    KillManager,
    /// The disk of the state directory fills up.
    FillDisk,
}

/// An act, and how many of the run's jobs have finished when it happens.
pub type Moment = (Index, Act);

/// The further outcomes of jobs that the disturbances permit.
#[derive(Debug, Default)]
pub struct Marks {
    /// Somebody has cancelled the run.
    pub cancelled: bool,
    /// The jobs whose runner was killed.
    pub killed: BTreeSet<String>,
    /// There was no room to write.
    pub disk_full: bool,
    /// The manager is gone.
    pub lost: bool,
}

/// Returns up to three acts.
pub fn disturbances() -> impl Strategy<Value = Vec<Moment>> {
    let act = prop_oneof![
        2 => Just(Act::KillClient),
        3 => Just(Act::KillSupervisor),
        4 => any::<Index>().prop_map(Act::KillRunner),
        2 => Just(Act::Cancel),
        1 => Just(Act::Reload),
        2 => Just(Act::Reexecute),
        1 => Just(Act::KillManager),
        1 => Just(Act::FillDisk),
    ];
    vec((any::<Index>(), act), 0..4)
}

/// The file that fills the disk.
fn filler(manager: &Manager) -> std::path::PathBuf {
    manager.state_dir().join("filler")
}

/// Gives the state directory a disk of its own, which a disturbance can fill.
pub fn small_disk(manager: &Manager) {
    let state = manager.state_dir();
    let owner = if manager.kind() == Kind::User {
        ",uid=1000,gid=1000"
    } else {
        ""
    };
    let script = format!(
        "mkdir -p '{0}' && mount -t tmpfs -o size=64m,mode=755{owner} tmpfs '{0}'",
        state.display()
    );
    let machine = manager.machine().expect("the campaign has machines");
    // A user's manager has not seen its state directory yet, so its parents are made as the user.
    let parent = state.parent().unwrap_or(Path::new("/"));
    manager
        .command(&[Path::new("mkdir"), Path::new("-p"), parent])
        .ok();
    machine.run(&["sh", "-c", &script]);
}

/// Makes room again, and removes the runs before the last.
pub fn make_room(manager: &Manager) {
    manager
        .command(&[Path::new("rm"), Path::new("-f"), &filler(manager)])
        .ok();
    manager.nixactions(&["clean", "--keep", "1"]).ok();
}

/// Does to a run what is to be done to it; returns what this permits.
pub fn disturb(manager: &Manager, run: &mut Run<'_>, jobs: usize, moments: &[Moment]) -> Marks {
    let mut marks = Marks::default();
    let mut moments: Vec<_> = moments
        .iter()
        .map(|(when, act)| (when.index(jobs), act))
        .collect();
    moments.sort_by_key(|(finished, _)| *finished);
    for (finished, act) in moments {
        wait_for(RUN_DEADLINE, "so many jobs to finish", || {
            let count = of_type(run, "jobFinished").count();
            (count >= finished || marks.lost || marks.disk_full || run.has_ended()).then_some(())
        });
        if run.has_ended() {
            break;
        }
        happen(manager, run, act, &mut marks);
    }
    marks
}

fn happen(manager: &Manager, run: &mut Run<'_>, act: &Act, marks: &mut Marks) {
    match act {
        Act::KillClient => {
            if run.has_client() {
                run.kill_client();
            }
        }
        Act::KillSupervisor => _ = run.kill_supervisor(),
        Act::KillRunner(which) => {
            let ended: BTreeSet<String> = of_type(run, "jobFinished").collect();
            let running: Vec<String> = of_type(run, "jobStarted")
                .filter(|job| !ended.contains(job))
                .collect();
            if !running.is_empty() {
                let job = which.get(&running);
                if run.kill_runner(job) {
                    marks.killed.insert(job.clone());
                }
            }
        }
        Act::Cancel => {
            // The run may be over by then.
            let output = manager
                .nixactions(&["cancel", run.id()])
                .output_within(RUN_DEADLINE);
            marks.cancelled |= output.status.success();
        }
        Act::Reload | Act::Reexecute if manager.kind() == Kind::Embedded => {}
        Act::Reload => _ = manager.systemctl(&["daemon-reload"]).output_within(SOON),
        Act::Reexecute => _ = manager.systemctl(&["daemon-reexec"]).output_within(SOON),
        Act::KillManager => {
            for pid in manager.private_managers() {
                // It may end by itself just now.
                let killed = kill(Pid::from_raw(pid), Signal::SIGKILL);
                marks.lost |= killed.is_ok();
            }
        }
        Act::FillDisk => {
            let path = format!("of={}", filler(manager).display());
            manager
                .command(&["dd", "if=/dev/zero", &path, "bs=64k", "status=none"])
                .output_within(SOON);
            marks.disk_full = true;
        }
    }
}

/// Waits until the run has ended; the client's exit status is that of another one which attaches,
/// where the first was killed.
pub fn end(manager: &Manager, run: Run<'_>, marks: &Marks) -> Finished {
    if marks.lost {
        // The next command that finds the run closes its record.
        wait_for(RUN_DEADLINE, "the lost run to be found", || {
            let args = ["show", run.id(), "--json"];
            manager.nixactions(&args).output_within(SOON);
            run.has_ended().then_some(())
        });
    }
    let had_client = run.has_client();
    let id = run.id().to_owned();
    let mut finished = run.end();
    if !had_client {
        let output = manager
            .nixactions(&["attach", &id])
            .output_within(RUN_DEADLINE);
        finished.code = output.status.code();
    }
    finished
}

/// Returns the jobs of the events of this type.
fn of_type(run: &Run<'_>, kind: &'static str) -> impl Iterator<Item = String> {
    run.events()
        .into_iter()
        .filter(move |event| event["event"]["type"] == kind)
        .filter_map(|event| match &event["event"]["job"] {
            Value::String(job) => Some(job.clone()),
            _ => None,
        })
}
