//! Chooses the next jobs for PID 1, and bounds their number.
//!
//! Pure: it looks at the states of the jobs and changes none. Knows nothing of D-Bus, files or
//! time.

use super::state::Jobs;
use crate::{
    graph::{Graph, JobIx},
    unit::{self, Context},
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
    /// Returns the queue of a run.
    pub fn of(context: &Context<'_>) -> Self {
        let groups = unit::matrix_groups(context.plan);
        let bounded: Vec<(&str, u32)> = groups
            .into_iter()
            .filter_map(|(group, matrix)| Some((group, matrix.max_parallel?)))
            .collect();
        let group_of = context.graph.jobs().map(|ix| {
            let matrix = context.job(ix).1.matrix.as_ref()?;
            bounded
                .binary_search_by_key(&matrix.group.as_str(), |(group, _)| group)
                .ok()
        });
        let bounds: Vec<u32> = bounded
            .iter()
            .map(|(_, max_parallel)| *max_parallel)
            .collect();
        Self::new(context.run.max_parallel, group_of.collect(), &bounds)
    }

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

/// Returns the jobs to submit next, in topological order: the jobs that can run at once, and,
/// if half of the backlog is free, enough jobs to fill it.
pub fn next_wave(jobs: &Jobs, graph: &Graph, queue: &Queue) -> Option<(u32, Vec<JobIx>)> {
    if jobs.waiting() == 0 {
        return None;
    }
    let mut loads = Loads::new(queue);
    for ix in jobs.pending() {
        loads.add(ix, jobs.is_ready(graph, ix));
    }
    for load in loads.groups.iter_mut().chain([&mut loads.run]) {
        load.refills = load.waiting() <= load.bound.backlog / 2;
    }
    let mut wave = Vec::new();
    let mut taken = vec![false; graph.len()];
    for ix in graph.jobs().filter(|ix| jobs.is_waiting(*ix)) {
        // Leaves out jobs that wait for a job of an earlier wave. A unit that is ordered after
        // another keeps that one loaded, which keeps its own predecessors loaded, and so on.
        // PID 1 would hold all finished jobs of a run, and walk through them.
        let is_ready = jobs.is_ready(graph, ix);
        let comes_next = || {
            graph
                .needs(ix)
                .iter()
                .all(|need| taken[need.index()] || jobs.is_finished(*need))
        };
        if !loads.takes(ix, is_ready) || !is_ready && !comes_next() {
            continue;
        }
        loads.add(ix, is_ready);
        taken[ix.index()] = true;
        wave.push(ix);
    }
    (!wave.is_empty()).then_some((jobs.next_wave(), wave))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Plan, record::Conclusion, supervisor::state::Change};

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

    fn finish(states: &mut Jobs, jobs: &[JobIx]) {
        jobs.iter()
            .for_each(|ix| _ = states.apply(*ix, Change::Finish(Conclusion::Success)));
    }

    /// Submits the next wave and returns it.
    fn submit(states: &mut Jobs, graph: &Graph, queue: &Queue) -> Vec<JobIx> {
        let Some((wave, jobs)) = next_wave(states, graph, queue) else {
            return Vec::new();
        };
        jobs.iter()
            .for_each(|ix| _ = states.apply(*ix, Change::Submit { wave, user: None }));
        jobs
    }

    #[test]
    fn a_wave_comes_when_half_of_the_backlog_is_free() {
        let graph = graph(298);
        let queue = Queue::new(2, vec![None; 300], &[]);
        let mut states = Jobs::new(&graph);
        let first = submit(&mut states, &graph, &queue);
        assert_eq!(first.len(), 2 + BACKLOG_MIN);
        finish(&mut states, &first[..31]);
        assert_eq!(next_wave(&states, &graph, &queue), None);
        finish(&mut states, &first[31..32]);
        assert_eq!(submit(&mut states, &graph, &queue).len(), 32);
    }

    #[test]
    fn a_wave_has_no_job_that_waits_for_an_earlier_wave() {
        let graph = graph(98);
        let queue = Queue::new(2, vec![None; 100], &[]);
        let mut states = Jobs::new(&graph);
        let named =
            |jobs: &[JobIx], name: &str| jobs.iter().any(|ix| graph.name(*ix).as_str() == name);
        // Its need comes along.
        let first = submit(&mut states, &graph, &queue);
        assert!(
            !named(&first, "z-first") && named(&first, "j0000"),
            "the order of the graph is by layers"
        );
        finish(&mut states, &first[1..]);
        let second = submit(&mut states, &graph, &queue);
        assert!(
            !named(&second, "z-first") && named(&second, "z-last"),
            "{second:?}"
        );
        finish(&mut states, &first[..1]);
        assert!(named(&submit(&mut states, &graph, &queue), "z-first"));
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
        let mut states = Jobs::new(&graph);
        let first = submit(&mut states, &graph, &queue);
        assert_eq!(first.len(), 2 + BACKLOG_MIN);
        let chain: Vec<JobIx> = first
            .iter()
            .copied()
            .filter(|ix| graph.name(*ix).as_str() > "j0300")
            .collect();
        finish(&mut states, &chain);
        let next = submit(&mut states, &graph, &queue);
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
        let mut states = Jobs::new(&graph);
        let first = submit(&mut states, &graph, &queue);
        let free: Vec<JobIx> = first.iter().copied().filter(|ix| !in_group(ix)).collect();
        assert_eq!((free.len(), first.len()), (1, 1 + 1 + BACKLOG_MIN));
        finish(&mut states, &free);
        let next = submit(&mut states, &graph, &queue);
        assert_eq!((next.len(), next.iter().any(in_group)), (1, false));
    }

    #[test]
    fn a_bounded_matrix_delays_only_its_dependents() {
        let graph = graph(200);
        let in_group = |ix: &JobIx| graph.name(*ix).as_str().starts_with('j');
        let group_of = graph.jobs().map(|ix| in_group(&ix).then_some(0)).collect();
        let queue = Queue::new(500, group_of, &[8]);
        let mut states = Jobs::new(&graph);
        let first = submit(&mut states, &graph, &queue);
        let names: Vec<&str> = first.iter().map(|ix| graph.name(*ix).as_str()).collect();
        assert_eq!(first.iter().filter(|ix| in_group(ix)).count(), 8 + 64);
        assert!(
            names.contains(&"z-first") && !names.contains(&"z-last"),
            "{names:?}"
        );
        assert_eq!(next_wave(&states, &graph, &queue), None);
        finish(&mut states, &first);
        assert_eq!(next_wave(&states, &graph, &queue).unwrap().1.len(), 8 + 64);
    }
}
