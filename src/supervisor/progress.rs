//! How far a run has come: pure bookkeeping over jobs, owned by the supervisor.
//!
//! Knows which jobs were submitted and how each ended, which wave comes next, and what systemd's words mean for a job
//! that left no result. Knows nothing of D-Bus, files or time.

use crate::{
    graph::{Graph, JobIx},
    record::Conclusion,
    status,
    systemd::JobResult,
};

/// How many jobs wait in PID 1's queue at most: beyond that each costs it more (measured from 1,000 on).
pub const QUEUE_MAX: usize = 1000;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// PID 1 does not know it yet.
    Waiting,
    /// Submitted with this wave.
    Submitted(u32),
    /// Finished.
    Finished(Conclusion),
}

/// The state of all jobs.
#[derive(Debug)]
pub struct Progress {
    places: Vec<Place>,
    /// The wave of each job that was submitted.
    waves: Vec<Option<u32>>,
    finished: usize,
    failed: usize,
    submitted: usize,
    next_wave: u32,
    /// How many unfinished jobs each wave still has.
    unfinished: Vec<usize>,
}

impl Progress {
    /// Returns the state in which nothing has happened.
    pub fn new(graph: &Graph) -> Self {
        Self {
            places: vec![Place::Waiting; graph.len()],
            waves: vec![None; graph.len()],
            finished: 0,
            failed: 0,
            submitted: 0,
            next_wave: 0,
            unfinished: Vec::new(),
        }
    }

    /// Returns where a job is.
    pub fn place(&self, ix: JobIx) -> Place {
        self.places[ix.index()]
    }

    /// Returns how many jobs have finished.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Returns how many jobs concluded failure.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Returns whether all jobs are finished.
    pub fn is_done(&self) -> bool {
        self.finished == self.places.len()
    }

    /// Returns the jobs that PID 1 knows and that have not finished.
    pub fn pending(&self) -> impl Iterator<Item = JobIx> + '_ {
        self.places.iter().enumerate().filter(|(_, place)| matches!(place, Place::Submitted(_))).map(|(index, _)| JobIx(index as u32))
    }

    /// Returns the jobs to submit next, in topological order, where PID 1's queue has room for a worthwhile number.
    pub fn next_wave(&self, graph: &Graph, queue_max: usize) -> Option<(u32, Vec<JobIx>)> {
        let waiting = self.places.len() - self.submitted;
        let room = queue_max - (self.submitted - self.finished).min(queue_max);
        if waiting == 0 || (room < queue_max / 2 && self.submitted > 0) {
            return None;
        }
        let jobs = graph.jobs().filter(|ix| self.place(*ix) == Place::Waiting).take(room).collect();
        Some((self.next_wave, jobs))
    }

    /// Notes that PID 1 has these jobs.
    pub fn submitted(&mut self, wave: u32, jobs: &[JobIx]) {
        let slot = wave as usize;
        if self.unfinished.len() <= slot {
            self.unfinished.resize(slot + 1, 0);
        }
        for ix in jobs {
            if self.places[ix.index()] == Place::Waiting {
                self.places[ix.index()] = Place::Submitted(wave);
                self.submitted += 1;
                self.unfinished[slot] += 1;
            }
            self.waves[ix.index()] = Some(wave);
        }
        self.next_wave = self.next_wave.max(wave + 1);
    }

    /// Notes that a job finished. Returns its wave where it was the wave's last.
    pub fn finish(&mut self, ix: JobIx, conclusion: Conclusion) -> Option<u32> {
        let before = std::mem::replace(&mut self.places[ix.index()], Place::Finished(conclusion));
        if !matches!(before, Place::Finished(_)) {
            self.finished += 1;
            self.failed += usize::from(conclusion == Conclusion::Failure);
        }
        match before {
            Place::Submitted(wave) => {
                let left = &mut self.unfinished[wave as usize];
                *left -= 1;
                (*left == 0).then_some(wave)
            }
            Place::Waiting => {
                self.submitted += 1;
                None
            }
            Place::Finished(_) => None,
        }
    }

    /// Returns the jobs that concluded failure.
    pub fn failed_jobs(&self) -> impl Iterator<Item = JobIx> + '_ {
        let failed = self.places.iter().enumerate().filter(|(_, place)| **place == Place::Finished(Conclusion::Failure));
        failed.map(|(index, _)| JobIx(index as u32))
    }

    /// Returns the conclusions of all finished jobs.
    pub fn conclusions(&self) -> impl Iterator<Item = Conclusion> + '_ {
        self.places.iter().filter_map(|place| if let Place::Finished(conclusion) = place { Some(*conclusion) } else { None })
    }

    /// Returns how a job ended that left no result, and why, from what systemd says of it.
    pub fn judge(&self, graph: &Graph, ix: JobIx, result: &JobResult, service: Option<&str>, cancelled: bool) -> (Conclusion, String) {
        let if_not_done = if cancelled { Conclusion::Cancelled } else { Conclusion::Failure };
        match result {
            JobResult::Dependency => (Conclusion::Skipped, self.why_blocked(graph, ix).unwrap_or_else(|| "a need failed".to_owned())),
            JobResult::Canceled => (if_not_done, "its start was cancelled in systemd".to_owned()),
            JobResult::Done | JobResult::Failed | JobResult::Timeout | JobResult::Unknown(_) => {
                (if_not_done, service.unwrap_or("its runner left no result").to_owned())
            }
        }
    }

    /// Returns why `success()` is false for a job, as far as its needs are finished.
    pub fn why_blocked(&self, graph: &Graph, ix: JobIx) -> Option<String> {
        let needs = graph.needs(ix).iter().filter_map(|need| match self.place(*need) {
            Place::Finished(conclusion) => Some((graph.name(*need), conclusion)),
            Place::Waiting | Place::Submitted(_) => None,
        });
        status::blocked(needs)
    }
}
