//! How far a run has come: pure bookkeeping over jobs, owned by the supervisor.
//!
//! Knows which jobs were submitted and how each ended, which wave comes next, and what systemd's
//! words mean for a job that left no result. Knows nothing of D-Bus, files or time.

use crate::{
    graph::{Graph, JobIx},
    record::Conclusion,
    status::{self, Need},
    systemd::JobResult,
};

/// How many jobs PID 1 has at most beyond those that may run at once. More cost it more each (a
/// layered DAG of 2,000 on 262: 9 ms a job with 256, 11 with 1,000), and fewer make more waves than
/// are worth it.
const BACKLOG: usize = 256;

/// The least of that, and how many times the jobs that may run at once: whenever a bounded slice
/// has room again, PID 1 tries each job that waits for it, and before systemd 258 such a job is a
/// process.
const BACKLOG_MIN: usize = 64;
const BACKLOG_FACTOR: usize = 8;

/// How many jobs PID 1 may have at a time: of the run, and of each matrix that is bounded itself.
#[derive(Debug)]
pub struct Queue {
    run: Bound,
    group_of: Vec<Option<usize>>,
    groups: Vec<Bound>,
}

/// How many jobs may run at once, and how many more PID 1 may have.
#[derive(Debug, Clone, Copy)]
struct Bound {
    at_once: usize,
    backlog: usize,
}

impl Queue {
    /// Returns the queue of a run of which `max_parallel` jobs may run at once; `group_of` tells of
    /// each job which matrix it belongs to, of those whose own such numbers are `groups`.
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

/// What PID 1 has: the run's jobs, and those of each matrix.
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

    /// Adds a job; `is_ready` tells whether all it needs has finished.
    fn add(&mut self, ix: JobIx, is_ready: bool) {
        let group = self.queue.group_of[ix.index()].map(|group| &mut self.groups[group]);
        // One that its matrix holds back takes no place of the run.
        self.run
            .add(is_ready && group.as_ref().is_none_or(|group| group.has_place()));
        group.into_iter().for_each(|group| group.add(is_ready));
    }

    /// Returns whether one more may be added.
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
    /// Those that nothing else holds back than how many may run at once.
    ready: usize,
    all: usize,
    /// Whether there is room for a worthwhile number of jobs that cannot run at once.
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

    /// Returns how many do not run.
    fn waiting(&self) -> usize {
        self.all - self.ready.min(self.bound.at_once)
    }

    /// Returns whether one more may be added: it would run at once, or there is room for it to
    /// wait.
    fn takes(&self, is_ready: bool) -> bool {
        is_ready && self.has_place() || self.refills && self.waiting() < self.bound.backlog
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
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| matches!(place, Place::Submitted(_)))
            .map(|(index, _)| JobIx(index as u32))
    }

    /// Returns whether all that a job needs has finished.
    pub fn is_ready(&self, graph: &Graph, ix: JobIx) -> bool {
        graph
            .needs(ix)
            .iter()
            .all(|need| matches!(self.place(*need), Place::Finished(_)))
    }

    /// Returns the jobs to submit next, in topological order: those that can run at once, and where
    /// half of a backlog is free, those that fill it.
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
            // Not those that wait for a job of an earlier wave: a unit that is ordered after
            // another keeps it loaded, that one those before it, and so on to the first. PID 1
            // would hold all finished jobs of a run, and walk through them.
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

    /// Returns how a job ended that left no result that counts, and why: `words` is what systemd
    /// says of its service's end.
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

    /// Returns the graph of `count` jobs, and one that needs the first and one that needs the last
    /// of them.
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
    fn a_wave_waits_for_no_job_of_an_earlier_one() {
        let graph = graph(98);
        let queue = Queue::new(2, vec![None; 100], &[]);
        let mut progress = Progress::new(&graph);
        let named =
            |jobs: &[JobIx], name: &str| jobs.iter().any(|ix| graph.name(*ix).as_str() == name);
        // With its need.
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
                // One job that all of a backlog waits for, and a chain of others beside it.
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
    fn a_bounded_matrix_takes_no_more_places_than_it_may() {
        let graph = graph(100);
        // All but the last 20 of the layer.
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
    fn a_matrix_that_is_bounded_holds_up_nobody_but_its_dependents() {
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
