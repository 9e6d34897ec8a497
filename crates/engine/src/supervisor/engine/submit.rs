//! Submits the next jobs to PID 1, and records those that PID 1 does not get.

use std::path::Path;

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;

use super::{Engine, Expected, SuperviseError};
use crate::{
    error::describe,
    event::EventKind,
    graph::JobIx,
    ids::JobName,
    plan::Job,
    reason::{MainEnd, Reason},
    record::{Conclusion, JobRecord},
    status::{self, Evidence, Gate, ServiceEvidence},
    store::{self, RunDir},
    supervisor::{state::Change, submission, wave},
    unit::{self, UnitName},
};

/// The room that systemd needs to start a service, in bytes: a few blocks.
const SMALL: u64 = 16 << 10;

impl Engine<'_> {
    /// Submits the next wave if there is room for one.
    pub(super) async fn submit(&mut self) -> Result<(), SuperviseError> {
        if self.refused.is_some() {
            self.drop_ready();
            return Ok(());
        }
        let Some((number, jobs)) = wave::next_wave(&self.jobs, self.context.graph, &self.queue)
        else {
            return Ok(());
        };
        if let Err(error) = submission::prepare(&self.run, &self.context, number, &jobs) {
            return self.fail_rest(reason_of(&error)).await;
        }
        let names: Vec<JobName> = jobs
            .iter()
            .map(|ix| self.context.graph.name(*ix).clone())
            .collect();
        // On a full disk, systemd could not make the users either, and the jobs would not start.
        let of_jobs = self.users.take(&jobs);
        let of_containers = self.users.take_for_containers(&self.run, number);
        let of_services = self.users.take_for_services(&jobs);
        let mut users = match (of_jobs, of_containers, of_services) {
            (Ok(jobs), Ok(shared), Ok(services)) => unit::Users {
                jobs,
                shared,
                services,
            },
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                return self.fail_rest(reason_of(&error)).await;
            }
        };
        let since = Timestamp::now();
        self.emit(EventKind::JobsSubmitted {
            wave: number,
            jobs: names,
        });
        if let Err(error) = self.try_flush() {
            // After a crash nobody would know that PID 1 has them.
            self.unwritten.pop();
            return self.fail_rest(reason_of(&error)).await;
        }
        for ix in &jobs {
            self.watch_job(*ix, 0, since)?;
        }
        let units = unit::wave(&self.context, number, &jobs, &self.pure, &users);
        if let Err(error) = self.manager.start(&units.main, &units.aux).await {
            let why = describe(&error);
            return self.fail_rest(Reason::Submit { why }).await;
        }
        for ix in jobs {
            let user = users.jobs.remove(&ix);
            self.jobs.apply(ix, Change::Submit { wave: number, user });
        }
        Ok(())
    }

    /// Notes that a job is over, removes its user, and records how it ended. Returns its wave if
    /// the job was the wave's last.
    pub(super) fn finish(&mut self, ix: JobIx, record: JobRecord) -> Option<u32> {
        let left = self.jobs.apply(ix, Change::Finish(record.conclusion));
        let left = left.unwrap_or_default();
        if let Some(user) = left.user {
            self.users.release(user);
        }
        self.users.release_services(ix);
        self.finished(ix, record);
        left.wave
    }

    /// Fails the run: PID 1 gets no more jobs, for this reason.
    pub(super) async fn fail_rest(&mut self, reason: Reason) -> Result<(), SuperviseError> {
        self.refused = Some(reason.clone());
        self.drop_ready();
        self.fail(reason).await
    }

    /// Records the jobs that PID 1 does not get and whose needs have finished: those that would run
    /// have failed.
    fn drop_ready(&mut self) {
        let Some(refused) = self.refused.clone() else {
            return;
        };
        // In topological order, so that dependents find their needs finished.
        for ix in self.context.graph.jobs() {
            if !self.jobs.is_waiting(ix) || !self.needs_are_finished(ix) {
                continue;
            }
            let gate = self.gate(ix);
            self.give_up(ix, gate, (Conclusion::Failure, refused.clone()));
        }
    }

    /// Watches a job's events. The first `known` of them have been passed on already. The job was
    /// submitted at the time `since`.
    pub(super) fn watch_job(
        &mut self,
        ix: JobIx,
        known: usize,
        since: Timestamp,
    ) -> Result<(), SuperviseError> {
        let (name, job) = self.context.job(ix);
        let expected = Expected {
            may_hold: self.context.run.keep_failed.is_some(),
            steps: job.steps_max(),
            known,
            since,
            attempts: self.context.plan.attempts_max(job),
        };
        Ok(self.watch.add(ix, name, &self.run.job(name), expected)?)
    }

    /// Records a job that will never be submitted. `otherwise` is how it ends if its gate lets it
    /// run.
    pub(super) fn give_up(&mut self, ix: JobIx, gate: Gate, otherwise: (Conclusion, Reason)) {
        let job = self.context.graph.name(ix).clone();
        let unit = UnitName::job(&self.context.run.run, &job).to_string();
        let tolerated = self.context.job(ix).1.continue_on_error;
        let verdict = status::verdict(&Evidence::NotSubmitted { gate, otherwise }, tolerated);
        let mut record = JobRecord::new(unit);
        (record.outcome, record.conclusion) = (verdict.outcome, verdict.conclusion);
        if let Some(reason) = &verdict.reason {
            record.set_reason(reason);
        }
        self.watch.remove(ix);
        self.finish(ix, record);
    }
}

/// Returns the reason for which systemd could not start a service, if that is a full disk.
pub(super) fn why_not_started(end: &ServiceEvidence, run: &RunDir) -> Option<Reason> {
    let status = match &end.main {
        MainEnd::NotStarted { status } => status.to_string(),
        MainEnd::NoCredentials => "243".to_owned(),
        MainEnd::NotRecorded | MainEnd::Exit { .. } | MainEnd::Signal { .. } | MainEnd::Unknown => {
            return None;
        }
    };
    // systemd makes a service's user, its directories and its mounts there.
    let places = [Path::new(store::LOCKS), Path::new("/run"), run.path()];
    let full = places.into_iter().find(|place| is_full(place))?;
    let what = format!(
        "systemd could not start a job (exit status {status}) with no room in `{}`",
        full.display()
    );
    Some(Reason::DiskFull { what })
}

/// Returns the reason for which systemd could not load a job's credentials, if that is a missing
/// file. A credential without a path comes from the manager's own credentials.
pub(super) fn missing_credential(end: &ServiceEvidence, job: &Job) -> Option<Reason> {
    if end.main != MainEnd::NoCredentials {
        return None;
    }
    let mut files = job.credentials.iter().chain(&job.credentials_encrypted);
    let (name, file) = files.find(|(_, file)| {
        let file = Path::new(file);
        file.is_absolute() && file.try_exists().is_ok_and(|exists| !exists)
    })?;
    Some(Reason::Secrets {
        why: format!("credential `{name}`: there is no file `{file}`"),
    })
}

/// Returns whether a disk has no room for a small file. The room that some file systems keep for
/// root counts as room.
fn is_full(place: &Path) -> bool {
    statvfs(place).is_ok_and(|disk| {
        let room = disk.blocks_free().saturating_mul(disk.fragment_size());
        room < SMALL || disk.files() > 0 && disk.files_free() == 0
    })
}

/// Returns the run's reason if this error keeps its jobs from PID 1.
fn reason_of(error: &store::StoreError) -> Reason {
    let said = describe(error);
    if error.is_full() {
        Reason::DiskFull { what: said }
    } else {
        Reason::Submit { why: said }
    }
}
