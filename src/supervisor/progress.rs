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

/// The least of that, and how many times the jobs that may run at once: whenever a bounded slice has room again, PID 1 tries each
/// job that waits for it, and tells everybody of the try.
const QUEUE_MIN: usize = 64;
const QUEUE_FACTOR: usize = 8;

/// How many unfinished jobs PID 1 may have at a time: of the run, and of each matrix that is bounded itself.
#[derive(Debug)]
pub struct Queue {
    max: usize,
    group_of: Vec<Option<usize>>,
    groups: Vec<usize>,
}

impl Queue {
    /// Returns the queue of a run of which `max_parallel` jobs may run at once; `group_of` tells of each job which matrix it belongs
    /// to, of those whose own such numbers are `groups`.
    pub fn new(most: usize, max_parallel: u32, group_of: Vec<Option<usize>>, groups: &[u32]) -> Self {
        let length = |max_parallel: u32| (max_parallel as usize).saturating_mul(QUEUE_FACTOR).clamp(QUEUE_MIN, most);
        Self { max: length(max_parallel), group_of, groups: groups.iter().map(|max_parallel| length(*max_parallel)).collect() }
    }
}

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

    /// Returns how many have not.
    pub fn unfinished(&self) -> usize {
        self.places.len() - self.finished
    }

    /// Returns whether PID 1 was ever given jobs.
    pub fn has_submitted(&self) -> bool {
        self.next_wave > 0
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

    /// Returns the jobs to submit next, in topological order, where there is room for a worthwhile number in PID 1's queue, or in
    /// that of a matrix.
    pub fn next_wave(&self, graph: &Graph, queue: &Queue) -> Option<(u32, Vec<JobIx>)> {
        if self.submitted == self.places.len() {
            return None;
        }
        let worthwhile = |max: usize, unfinished: usize| {
            let room = max - unfinished.min(max);
            if room < max / 2 && unfinished > 0 { 0 } else { room }
        };
        let mut room = worthwhile(queue.max, self.submitted - self.finished);
        let mut unfinished = vec![0; queue.groups.len()];
        self.pending().filter_map(|ix| queue.group_of[ix.index()]).for_each(|group| unfinished[group] += 1);
        let mut group_room: Vec<usize> =
            queue.groups.iter().zip(unfinished).map(|(max, unfinished)| worthwhile(*max, unfinished)).collect();
        let mut jobs = Vec::new();
        let mut taken = vec![false; self.places.len()];
        for ix in graph.jobs().filter(|ix| self.place(*ix) == Place::Waiting) {
            // Not those that wait for a job of an earlier wave: a unit that is ordered after another keeps it loaded, that one those
            // before it, and so on to the first. PID 1 would hold all finished jobs of a run, and walk through them.
            let needs_are_there = graph.needs(ix).iter().all(|need| taken[need.index()] || matches!(self.place(*need), Place::Finished(_)));
            let group_room = queue.group_of[ix.index()].map(|group| &mut group_room[group]);
            if room == 0 {
                break;
            }
            if !needs_are_there || group_room.as_ref().is_some_and(|room| **room == 0) {
                continue;
            }
            room -= 1;
            if let Some(room) = group_room {
                *room -= 1;
            }
            taken[ix.index()] = true;
            jobs.push(ix);
        }
        (!jobs.is_empty()).then_some((self.next_wave, jobs))
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

    /// Returns how a job ended that left no result that counts, and why: `words` is what systemd says of its service's end.
    pub fn judge(&self, graph: &Graph, ix: JobIx, result: &JobResult, words: Option<&str>, cancelled: bool) -> (Conclusion, String) {
        let if_not_done = if cancelled { Conclusion::Cancelled } else { Conclusion::Failure };
        match result {
            JobResult::Dependency => (Conclusion::Skipped, self.why_blocked(graph, ix).unwrap_or_else(|| "a need failed".to_owned())),
            JobResult::Canceled => (if_not_done, "its start was cancelled in systemd".to_owned()),
            JobResult::Done | JobResult::Failed | JobResult::Timeout | JobResult::Unknown(_) => {
                (if_not_done, words.unwrap_or("its runner left no result").to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    /// Returns the graph of `count` jobs, and one that needs the first and one that needs the last of them.
    fn graph(count: usize) -> Graph {
        let step = serde_json::json!([{ "bash": "true" }]);
        let mut jobs: serde_json::Map<_, _> = (0..count).map(|n| (format!("j{n:04}"), serde_json::json!({ "steps": step }))).collect();
        for (name, need) in [("z-first", 0), ("z-last", count - 1)] {
            jobs.insert(name.to_owned(), serde_json::json!({ "needs": [format!("j{need:04}")], "steps": step }));
        }
        let plan: Plan = serde_json::from_value(serde_json::json!({ "version": 1, "name": "g", "jobs": jobs })).unwrap();
        Graph::new(&plan).unwrap()
    }

    fn finish(progress: &mut Progress, jobs: &[JobIx]) {
        jobs.iter().for_each(|ix| _ = progress.finish(*ix, Conclusion::Success));
    }

    #[test]
    fn a_wave_comes_when_half_of_the_queue_is_free() {
        let graph = graph(298);
        let queue = Queue::new(QUEUE_MAX, 2, vec![None; 300], &[]);
        let mut progress = Progress::new(&graph);
        let (number, first) = progress.next_wave(&graph, &queue).unwrap();
        assert_eq!((number, first.len()), (0, QUEUE_MIN));
        progress.submitted(number, &first);
        finish(&mut progress, &first[..31]);
        assert_eq!(progress.next_wave(&graph, &queue), None);
        finish(&mut progress, &first[31..32]);
        let (number, second) = progress.next_wave(&graph, &queue).unwrap();
        assert_eq!((number, second.len()), (1, 32));
    }

    #[test]
    fn a_matrix_that_is_bounded_holds_up_nobody_but_its_dependents() {
        let graph = graph(200);
        let in_group = |ix: &JobIx| graph.name(*ix).as_str().starts_with('j');
        let group_of = graph.jobs().map(|ix| in_group(&ix).then_some(0)).collect();
        let queue = Queue::new(QUEUE_MAX, 500, group_of, &[8]);
        let mut progress = Progress::new(&graph);
        let (number, first) = progress.next_wave(&graph, &queue).unwrap();
        let names: Vec<&str> = first.iter().map(|ix| graph.name(*ix).as_str()).collect();
        assert_eq!(first.iter().filter(|ix| in_group(ix)).count(), 64);
        assert!(names.contains(&"z-first") && !names.contains(&"z-last"), "{names:?}");
        progress.submitted(number, &first);
        assert_eq!(progress.next_wave(&graph, &queue), None);
        finish(&mut progress, &first);
        assert_eq!(progress.next_wave(&graph, &queue).unwrap().1.len(), 64);
    }
}
