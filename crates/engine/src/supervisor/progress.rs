//! How far a run has come: pure bookkeeping over jobs, owned by the supervisor.
//!
//! It knows which jobs were submitted and how each ended, which wave comes next, and what systemd's
//! results mean for a job that left no result. It knows nothing of D-Bus, files or time.

use crate::{
    graph::{Graph, JobIx},
    record::Conclusion,
    status::{self, Need},
    systemd::JobResult,
};

/// The most jobs that PID 1 has beyond those that may run at once. With more, each job costs PID
/// 1 more (a layered DAG of 2,000 on 262: 9 ms a job with 256, 11 with 1,000). With fewer, there
/// are more waves than pay off.
const BACKLOG: usize = 256;

/// The minimum of the backlog, and its multiple of the jobs that may run at once. Whenever a
/// bounded slice has room again, PID 1 tries each job that waits for it, and before systemd 258
/// such a job is a process.
const BACKLOG_MIN: usize = 64;
const BACKLOG_FACTOR: usize = 8;

/// The most jobs that PID 1 may have at a time, for the run and for each matrix with a bound of its
/// own.
#[derive(Debug)]
pub struct Queue {
    run: Bound,
    group_of: Vec<Option<usize>>,
    groups: Vec<Bound>,
}

/// The most jobs that may run at once, and the most further jobs of PID 1.
#[derive(Debug, Clone, Copy)]
struct Bound {
    at_once: usize,
    backlog: usize,
}

impl Queue {
    /// Returns the queue of a run that runs up to `max_parallel` jobs at once. `groups` holds the
    /// bounds of the matrices that have one, and `group_of` the index of each job's matrix in it.
    pub fn new(max_parallel: u32, group_of: Vec<Option<usize>>, groups: &[u32]) -> Self {
        Self {
            run: Bound::new(max_parallel),
            group_of,
            groups: groups.iter().copied().map(Bound::new).collect(),
        }
    }
}

impl Bound {
    fn new(max_parallel: u32) -> Self {
        let at_once = max_parallel as usize;
        Self {
            at_once,
            backlog: at_once
                .saturating_mul(BACKLOG_FACTOR)
                .clamp(BACKLOG_MIN, BACKLOG),
        }
    }
}

/// The load of PID 1: the run's jobs, and those of each matrix.
struct Loads<'a> {
    queue: &'a Queue,
    run: Load,
    groups: Vec<Load>,
}

impl<'a> Loads<'a> {
    fn new(queue: &'a Queue) -> Self {
        Self {
            queue,
            run: Load::new(queue.run),
            groups: queue.groups.iter().map(|bound| Load::new(*bound)).collect(),
        }
    }

    /// Adds a job. `is_ready` says whether all its needs have finished.
    fn add(&mut self, ix: JobIx, is_ready: bool) {
        let group = self.queue.group_of[ix.index()].map(|group| &mut self.groups[group]);
        // A job that its matrix holds back takes no slot of the run.
        self.run
            .add(is_ready && group.as_ref().is_none_or(|group| group.has_place()));
        group.into_iter().for_each(|group| group.add(is_ready));
    }

    /// Returns whether one more job may be added.
    fn takes(&self, ix: JobIx, is_ready: bool) -> bool {
        let group = self.queue.group_of[ix.index()].map(|group| &self.groups[group]);
        self.run
            .takes(is_ready && group.is_none_or(Load::has_place))
            && group.is_none_or(|group| group.takes(is_ready))
    }
}

/// The jobs that PID 1 has, of a run or of a matrix.
#[derive(Debug, Clone, Copy)]
struct Load {
    bound: Bound,
    /// Jobs that wait only for a free slot.
    ready: usize,
    all: usize,
    /// Whether there is room for enough waiting jobs to be worth a wave.
    refills: bool,
}

impl Load {
    fn new(bound: Bound) -> Self {
        Self {
            bound,
            ready: 0,
            all: 0,
            refills: false,
        }
    }

    fn add(&mut self, is_ready: bool) {
        self.all += 1;
        self.ready += usize::from(is_ready);
    }

    fn has_place(&self) -> bool {
        self.ready < self.bound.at_once
    }

    /// Returns how many jobs do not run.
    fn waiting(&self) -> usize {
        self.all - self.ready.min(self.bound.at_once)
    }

    /// Returns whether one more job may be added: it would run at once, or there is room for it to
    /// wait.
    fn takes(&self, is_ready: bool) -> bool {
        is_ready && self.has_place() || self.refills && self.waiting() < self.bound.backlog
    }
}

/// The place of a job.
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
    /// The wave of each submitted job.
    waves: Vec<Option<u32>>,
    finished: usize,
    failed: usize,
    submitted: usize,
    next_wave: u32,
    /// The number of unfinished jobs of each wave.
    unfinished: Vec<usize>,
}

impl Progress {
    /// Returns the state of a run before its start.
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

    /// Returns the place of a job.
    pub fn place(&self, ix: JobIx) -> Place {
        self.places[ix.index()]
    }

    /// Returns how many jobs have finished.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Returns how many jobs have not finished.
    pub fn unfinished(&self) -> usize {
        self.places.len() - self.finished
    }

    /// Returns whether PID 1 ever got jobs of the run.
    pub fn has_submitted(&self) -> bool {
        self.next_wave > 0
    }

    /// Returns how many jobs failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Returns whether all jobs are finished.
    pub fn is_done(&self) -> bool {
        self.finished == self.places.len()
    }

    /// Returns the unfinished jobs that PID 1 knows.
    pub fn pending(&self) -> impl Iterator<Item = JobIx> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| matches!(place, Place::Submitted(_)))
            .map(|(index, _)| JobIx(index as u32))
    }

    /// Returns whether all needs of a job have finished.
    pub fn is_ready(&self, graph: &Graph, ix: JobIx) -> bool {
        graph
            .needs(ix)
            .iter()
            .all(|need| matches!(self.place(*need), Place::Finished(_)))
    }

    /// Returns the jobs to submit next, in topological order: the jobs that can run at once, and,
    /// if half of the backlog is free, enough jobs to fill it.
    pub fn next_wave(&self, graph: &Graph, queue: &Queue) -> Option<(u32, Vec<JobIx>)> {
        if self.submitted == self.places.len() {
            return None;
        }
        let mut loads = Loads::new(queue);
        for ix in self.pending() {
            loads.add(ix, self.is_ready(graph, ix));
        }
        for load in loads.groups.iter_mut().chain([&mut loads.run]) {
            load.refills = load.waiting() <= load.bound.backlog / 2;
        }
        let mut jobs = Vec::new();
        let mut taken = vec![false; self.places.len()];
        for ix in graph.jobs().filter(|ix| self.place(*ix) == Place::Waiting) {
            // Leaves out jobs that wait for a job of an earlier wave. A unit that is ordered after
            // another keeps that one loaded, which keeps its own predecessors loaded, and so on.
            // PID 1 would hold all finished jobs of a run, and walk through them.
            let is_ready = self.is_ready(graph, ix);
            let comes_next = || {
                graph.needs(ix).iter().all(|need| {
                    taken[need.index()] || matches!(self.place(*need), Place::Finished(_))
                })
            };
            if !loads.takes(ix, is_ready) || !is_ready && !comes_next() {
                continue;
            }
            loads.add(ix, is_ready);
            taken[ix.index()] = true;
            jobs.push(ix);
        }
        (!jobs.is_empty()).then_some((self.next_wave, jobs))
    }

    /// Notes that PID 1 got these jobs.
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

    /// Notes that a job finished. Returns its wave if the job was the wave's last.
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

    /// Returns the failed jobs.
    pub fn failed_jobs(&self) -> impl Iterator<Item = JobIx> + '_ {
        let failed = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| **place == Place::Finished(Conclusion::Failure));
        failed.map(|(index, _)| JobIx(index as u32))
    }

    /// Returns the conclusions of all finished jobs.
    pub fn conclusions(&self) -> impl Iterator<Item = Conclusion> + '_ {
        self.places.iter().filter_map(|place| {
            if let Place::Finished(conclusion) = place {
                Some(*conclusion)
            } else {
                None
            }
        })
    }

    /// Returns how a job ended that left no valid result, and why. `words` is systemd's description
    /// of its service's end.
    pub fn judge(
        &self,
        graph: &Graph,
        ix: JobIx,
        result: &JobResult,
        words: Option<&str>,
        cancelled: bool,
    ) -> (Conclusion, String) {
        let if_not_done = if cancelled {
            Conclusion::Cancelled
        } else {
            Conclusion::Failure
        };
        match result {
            JobResult::Dependency => (
                Conclusion::Skipped,
                self.why_blocked(graph, ix)
                    .unwrap_or_else(|| "a need failed".to_owned()),
            ),
            JobResult::Canceled => (if_not_done, "its start was cancelled in systemd".to_owned()),
            JobResult::Done | JobResult::Failed | JobResult::Timeout | JobResult::Unknown(_) => (
                if_not_done,
                words.unwrap_or("its runner left no result").to_owned(),
            ),
        }
    }

    /// Returns the needs of a job that are finished, as its gate sees them.
    pub fn needs(&self, graph: &Graph, ix: JobIx) -> Vec<Need> {
        let has_failed = |ix: JobIx| self.place(ix) == Place::Finished(Conclusion::Failure);
        let need = |need: &JobIx| match self.place(*need) {
            Place::Finished(conclusion) => Some(Need {
                job: graph.name(*need).clone(),
                conclusion,
                failed: has_failed(*need) || graph.ancestors(*need).any(has_failed),
            }),
            Place::Waiting | Place::Submitted(_) => None,
        };
        graph.needs(ix).iter().filter_map(need).collect()
    }

    /// Returns why `success()` is false for a job, as far as its needs are finished.
    pub fn why_blocked(&self, graph: &Graph, ix: JobIx) -> Option<String> {
        let needs = graph
            .needs(ix)
            .iter()
            .filter_map(|need| match self.place(*need) {
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

    /// Returns a graph of `count` jobs, and two more: one needs the first of them, the other needs
    /// the last.
    fn graph(count: usize) -> Graph {
        let step = serde_json::json!([{ "bash": "true" }]);
        let mut jobs: serde_json::Map<_, _> = (0..count)
            .map(|n| (format!("j{n:04}"), serde_json::json!({ "steps": step })))
            .collect();
        for (name, need) in [("z-first", 0), ("z-last", count - 1)] {
            jobs.insert(
                name.to_owned(),
                serde_json::json!({ "needs": [format!("j{need:04}")], "steps": step }),
            );
        }
        let plan: Plan =
            serde_json::from_value(serde_json::json!({ "version": 1, "name": "g", "jobs": jobs }))
                .unwrap();
        Graph::new(&plan).unwrap()
    }

    fn finish(progress: &mut Progress, jobs: &[JobIx]) {
        jobs.iter()
            .for_each(|ix| _ = progress.finish(*ix, Conclusion::Success));
    }

    /// Submits the next wave and returns it.
    fn submit(progress: &mut Progress, graph: &Graph, queue: &Queue) -> Vec<JobIx> {
        let Some((number, jobs)) = progress.next_wave(graph, queue) else {
            return Vec::new();
        };
        progress.submitted(number, &jobs);
        jobs
    }

    #[test]
    fn a_wave_comes_when_half_of_the_backlog_is_free() {
        let graph = graph(298);
        let queue = Queue::new(2, vec![None; 300], &[]);
        let mut progress = Progress::new(&graph);
        let first = submit(&mut progress, &graph, &queue);
        assert_eq!(first.len(), 2 + BACKLOG_MIN);
        finish(&mut progress, &first[..31]);
        assert_eq!(progress.next_wave(&graph, &queue), None);
        finish(&mut progress, &first[31..32]);
        assert_eq!(submit(&mut progress, &graph, &queue).len(), 32);
    }

    #[test]
    fn a_wave_has_no_job_that_waits_for_an_earlier_wave() {
        let graph = graph(98);
        let queue = Queue::new(2, vec![None; 100], &[]);
        let mut progress = Progress::new(&graph);
        let named =
            |jobs: &[JobIx], name: &str| jobs.iter().any(|ix| graph.name(*ix).as_str() == name);
        // Its need comes along.
        let first = submit(&mut progress, &graph, &queue);
        assert!(
            !named(&first, "z-first") && named(&first, "j0000"),
            "the order of the graph is by layers"
        );
        finish(&mut progress, &first[1..]);
        let second = submit(&mut progress, &graph, &queue);
        assert!(
            !named(&second, "z-first") && named(&second, "z-last"),
            "{second:?}"
        );
        finish(&mut progress, &first[..1]);
        assert!(named(&submit(&mut progress, &graph, &queue), "z-first"));
    }

    #[test]
    fn a_job_that_can_run_at_once_does_not_wait_behind_a_backlog() {
        let step = serde_json::json!([{ "bash": "true" }]);
        let jobs: serde_json::Map<_, _> = (0..400)
            .map(|n| {
                // A backlog that waits for one job, and a chain of other jobs beside it.
                let needs: &[String] = &match n {
                    0 => vec![],
                    1..=300 => vec!["j0000".to_owned()],
                    301 => vec![],
                    _ => vec![format!("j{:04}", n - 1)],
                };
                (
                    format!("j{n:04}"),
                    serde_json::json!({ "needs": needs, "steps": step }),
                )
            })
            .collect();
        let plan: Plan =
            serde_json::from_value(serde_json::json!({ "version": 1, "name": "g", "jobs": jobs }))
                .unwrap();
        let graph = Graph::new(&plan).unwrap();
        let queue = Queue::new(2, vec![None; 400], &[]);
        let mut progress = Progress::new(&graph);
        let first = submit(&mut progress, &graph, &queue);
        assert_eq!(first.len(), 2 + BACKLOG_MIN);
        let chain: Vec<JobIx> = first
            .iter()
            .copied()
            .filter(|ix| graph.name(*ix).as_str() > "j0300")
            .collect();
        finish(&mut progress, &chain);
        let next = submit(&mut progress, &graph, &queue);
        assert_eq!(
            next.first().map(|ix| graph.name(*ix).to_string()),
            Some(format!("j{:04}", 301 + chain.len()))
        );
    }

    #[test]
    fn a_bounded_matrix_takes_only_its_own_slots() {
        let graph = graph(100);
        // All jobs of the layer but the last 20.
        let in_group = |ix: &JobIx| graph.name(*ix).as_str() < "j0080";
        let group_of = graph.jobs().map(|ix| in_group(&ix).then_some(0)).collect();
        let queue = Queue::new(2, group_of, &[1]);
        let mut progress = Progress::new(&graph);
        let first = submit(&mut progress, &graph, &queue);
        let free: Vec<JobIx> = first.iter().copied().filter(|ix| !in_group(ix)).collect();
        assert_eq!((free.len(), first.len()), (1, 1 + 1 + BACKLOG_MIN));
        finish(&mut progress, &free);
        let next = submit(&mut progress, &graph, &queue);
        assert_eq!((next.len(), next.iter().any(in_group)), (1, false));
    }

    #[test]
    fn a_bounded_matrix_delays_only_its_dependents() {
        let graph = graph(200);
        let in_group = |ix: &JobIx| graph.name(*ix).as_str().starts_with('j');
        let group_of = graph.jobs().map(|ix| in_group(&ix).then_some(0)).collect();
        let queue = Queue::new(500, group_of, &[8]);
        let mut progress = Progress::new(&graph);
        let first = submit(&mut progress, &graph, &queue);
        let names: Vec<&str> = first.iter().map(|ix| graph.name(*ix).as_str()).collect();
        assert_eq!(first.iter().filter(|ix| in_group(ix)).count(), 8 + 64);
        assert!(
            names.contains(&"z-first") && !names.contains(&"z-last"),
            "{names:?}"
        );
        assert_eq!(progress.next_wave(&graph, &queue), None);
        finish(&mut progress, &first);
        assert_eq!(progress.next_wave(&graph, &queue).unwrap().1.len(), 8 + 64);
    }
}
