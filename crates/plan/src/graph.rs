//! The graph of a plan's jobs and their needs, in a stable topological order.
//!
//! Pure. Knows nothing of conditions, conclusions and units, and not how jobs run. A [`JobIx`] is
//! dense and topological: all needs of a job have smaller indices than the job. If two jobs may
//! stand in either order, the lesser name stands first.
//! could stand in either order the one with the lesser name stands first.

use std::{collections::HashMap, fmt, ops::Range};

use crate::{Plan, ids::JobName, order};

/// A job's place in the topological order of its plan, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobIx(pub u32);

impl JobIx {
    /// Returns the place as an index into a slice.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for JobIx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error of a plan whose jobs have no topological order. Validation reports the same faults
/// with their paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A job needs a job that is not in the plan.
    #[error("job `{job}` needs `{need}`, which is not a job of the plan")]
    UnknownNeed {
        /// The job.
        job: JobName,
        /// The missing need.
        need: JobName,
    },
    /// Jobs need each other in a circle. Each job needs the next one, and the last job needs the
    /// first.
    #[error("jobs need each other: {}", show_cycle(.0))]
    Cycle(Vec<JobName>),
}

fn show_cycle(cycle: &[JobName]) -> String {
    cycle
        .iter()
        .chain(cycle.first())
        .map(JobName::as_str)
        .collect::<Vec<_>>()
        .join(" -> ")
}

/// Lists of indices in one allocation: list `i` is `items[starts[i]..starts[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lists {
    starts: Vec<u32>,
    items: Vec<JobIx>,
}

impl Lists {
    /// Groups (list, item) pairs, which must come sorted, into `count` lists.
    fn from_sorted(count: usize, pairs: &[(JobIx, JobIx)]) -> Self {
        let mut starts = vec![0; count + 1];
        for (list, _) in pairs {
            starts[list.index() + 1] += 1;
        }
        for i in 0..count {
            starts[i + 1] += starts[i];
        }
        Self {
            starts,
            items: pairs.iter().map(|(_, item)| *item).collect(),
        }
    }

    fn get(&self, list: JobIx) -> &[JobIx] {
        let range: Range<usize> =
            self.starts[list.index()] as usize..self.starts[list.index() + 1] as usize;
        &self.items[range]
    }
}

/// The jobs of a plan and their needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    names: Vec<JobName>,
    /// The jobs in the order of their names, for [`Graph::ix`].
    by_name: Vec<JobIx>,
    needs: Lists,
    dependents: Lists,
}

impl Graph {
    /// Returns the graph of a plan's jobs.
    ///
    /// # Errors
    /// The plan has a cycle, or a need that is not a job of the plan.
    pub fn new(plan: &Plan) -> Result<Self, GraphError> {
        // Number the jobs by name first (`BTreeMap` order), then by topological place.
        let by_rank: Vec<&JobName> = plan.jobs.keys().collect();
        let ranks: HashMap<&str, u32> = by_rank
            .iter()
            .enumerate()
            .map(|(rank, name)| (name.as_str(), rank as u32))
            .collect();
        let mut needs: Vec<Vec<u32>> = Vec::with_capacity(by_rank.len());
        for (name, job) in &plan.jobs {
            let mut wanted = job
                .needs
                .iter()
                .map(|need| {
                    let unknown = || GraphError::UnknownNeed {
                        job: name.clone(),
                        need: need.clone(),
                    };
                    ranks.get(need.as_str()).copied().ok_or_else(unknown)
                })
                .collect::<Result<Vec<u32>, _>>()?;
            wanted.sort_unstable();
            wanted.dedup();
            needs.push(wanted);
        }
        let order = order::topological(&needs).ok_or_else(|| {
            let cycle = order::cycles(&needs).swap_remove(0);
            GraphError::Cycle(
                cycle
                    .into_iter()
                    .map(|rank| by_rank[rank as usize].clone())
                    .collect(),
            )
        })?;

        let mut place = vec![JobIx(0); order.len()];
        for (ix, rank) in order.iter().enumerate() {
            place[*rank as usize] = JobIx(ix as u32);
        }
        let mut edges: Vec<(JobIx, JobIx)> = needs
            .iter()
            .enumerate()
            .flat_map(|(rank, ranks)| ranks.iter().map(move |need| (rank, *need)))
            .map(|(rank, need)| (place[rank], place[need as usize]))
            .collect();
        edges.sort_unstable();
        let needs = Lists::from_sorted(order.len(), &edges);
        for (job, need) in &mut edges {
            std::mem::swap(job, need);
        }
        edges.sort_unstable();
        let dependents = Lists::from_sorted(order.len(), &edges);
        let names = order
            .iter()
            .map(|rank| by_rank[*rank as usize].clone())
            .collect();
        Ok(Self {
            names,
            by_name: place,
            needs,
            dependents,
        })
    }

    /// Returns the number of jobs.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether the graph has no jobs.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns all jobs. Each job stands after its needs.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = JobIx> + ExactSizeIterator + use<> {
        (0..self.names.len() as u32).map(JobIx)
    }

    /// Returns the names of all jobs. A [`JobIx`] is an index into this slice.
    pub fn names(&self) -> &[JobName] {
        &self.names
    }

    /// Returns the name of a job.
    pub fn name(&self, ix: JobIx) -> &JobName {
        &self.names[ix.index()]
    }

    /// Returns the job with a name.
    pub fn ix(&self, name: &JobName) -> Option<JobIx> {
        let rank = self
            .by_name
            .binary_search_by(|ix| self.names[ix.index()].cmp(name))
            .ok()?;
        Some(self.by_name[rank])
    }

    /// Returns the jobs that a job needs, in ascending order, each once.
    pub fn needs(&self, ix: JobIx) -> &[JobIx] {
        self.needs.get(ix)
    }

    /// Returns the jobs that need a job, in ascending order, each once.
    pub fn dependents(&self, ix: JobIx) -> &[JobIx] {
        self.dependents.get(ix)
    }

    /// Returns the number of needs of all jobs together.
    pub fn edges(&self) -> usize {
        self.needs.items.len()
    }

    /// Returns the jobs that a job needs, directly or indirectly, in descending order. Each stands
    /// after all jobs that need it.
    pub fn ancestors(&self, ix: JobIx) -> Ancestors<'_> {
        let mut marks = Marks::new(ix.index());
        self.needs(ix).iter().for_each(|need| marks.set(*need));
        Ancestors { graph: self, marks }
    }

    /// Returns the jobs that need a job, directly or indirectly, in ascending order.
    pub fn descendants(&self, ix: JobIx) -> Vec<JobIx> {
        let mut marked = vec![false; self.len()];
        self.dependents(ix)
            .iter()
            .for_each(|job| marked[job.index()] = true);
        let mut found = Vec::new();
        for job in self.jobs().skip(ix.index() + 1) {
            if marked[job.index()] {
                found.push(job);
                self.dependents(job)
                    .iter()
                    .for_each(|next| marked[next.index()] = true);
            }
        }
        found
    }

    /// Returns whether `job` needs `need`, directly or indirectly. A job does not reach itself.
    pub fn reaches(&self, job: JobIx, need: JobIx) -> bool {
        need < job
            && self
                .ancestors(job)
                .take_while(|ancestor| *ancestor >= need)
                .any(|ancestor| ancestor == need)
    }
}

/// The ancestors of a job; see [`Graph::ancestors`].
#[derive(Debug)]
pub struct Ancestors<'a> {
    graph: &'a Graph,
    /// The jobs that were found but not yet returned.
    marks: Marks,
}

impl Iterator for Ancestors<'_> {
    type Item = JobIx;

    fn next(&mut self) -> Option<JobIx> {
        let next = self.marks.pop()?;
        // A need has a smaller index than its job, so no newly marked job has been returned before.
        self.graph
            .needs(next)
            .iter()
            .for_each(|need| self.marks.set(*need));
        Some(next)
    }
}

/// A set of jobs that returns the last job first.
#[derive(Debug)]
struct Marks(Vec<u64>);

impl Marks {
    /// Returns an empty set of jobs with indices below `bound`.
    fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    fn set(&mut self, job: JobIx) {
        self.0[job.index() / 64] |= 1 << (job.index() % 64);
    }

    fn pop(&mut self) -> Option<JobIx> {
        loop {
            let word = self.0.last_mut()?;
            if *word == 0 {
                self.0.pop();
                continue;
            }
            let bit = 63 - word.leading_zeros();
            *word &= !(1 << bit);
            return Some(JobIx((self.0.len() as u32 - 1) * 64 + bit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the plan with these jobs and needs.
    fn plan(jobs: &[(&str, &[&str])]) -> Plan {
        let jobs: serde_json::Map<_, _> = jobs
            .iter()
            .map(|(name, needs)| {
                (
                    (*name).to_owned(),
                    serde_json::json!({ "needs": needs, "steps": [{ "bash": "true" }] }),
                )
            })
            .collect();
        serde_json::from_value(serde_json::json!({ "version": 1, "name": "g", "jobs": jobs }))
            .unwrap()
    }

    fn show(graph: &Graph, jobs: impl IntoIterator<Item = JobIx>) -> Vec<&str> {
        jobs.into_iter().map(|ix| graph.name(ix).as_str()).collect()
    }

    #[test]
    fn order_is_topological_then_by_name() {
        let graph = Graph::new(&plan(&[
            ("z", &[]),
            ("a", &["z"]),
            ("m", &[]),
            ("b", &["z", "m"]),
            ("c", &["a", "b", "m"]),
        ]))
        .unwrap();
        assert_eq!(show(&graph, graph.jobs()), ["m", "z", "a", "b", "c"]);
        let c = graph.ix(&"c".parse().unwrap()).unwrap();
        assert_eq!(
            show(&graph, graph.needs(c).iter().copied()),
            ["m", "a", "b"]
        );
        let m = graph.ix(&"m".parse().unwrap()).unwrap();
        assert_eq!(
            show(&graph, graph.dependents(m).iter().copied()),
            ["b", "c"]
        );
        assert_eq!(graph.ix(&"nobody".parse().unwrap()), None);
        assert_eq!((graph.len(), graph.edges()), (5, 6));
    }

    #[test]
    fn ancestors_and_descendants_are_transitive_and_unique() {
        let graph = Graph::new(&plan(&[
            ("a", &[]),
            ("b", &["a"]),
            ("c", &["a"]),
            ("d", &["b", "c"]),
            ("e", &["d"]),
            ("x", &[]),
        ]))
        .unwrap();
        let ix = |name: &str| graph.ix(&name.parse().unwrap()).unwrap();
        assert_eq!(show(&graph, graph.ancestors(ix("e"))), ["d", "c", "b", "a"]);
        assert_eq!(
            show(&graph, graph.descendants(ix("a"))),
            ["b", "c", "d", "e"]
        );
        assert_eq!(graph.ancestors(ix("x")).count(), 0);
        assert!(graph.reaches(ix("e"), ix("a")));
        assert!(!graph.reaches(ix("a"), ix("e")));
        assert!(!graph.reaches(ix("e"), ix("x")));
        assert!(!graph.reaches(ix("e"), ix("e")));
    }

    #[test]
    fn a_cycle_is_returned_whole() {
        let error = Graph::new(&plan(&[
            ("a", &["c"]),
            ("b", &["a"]),
            ("c", &["b"]),
            ("d", &["c"]),
        ]))
        .unwrap_err();
        assert_eq!(error.to_string(), "jobs need each other: a -> c -> b -> a");
    }

    #[test]
    fn an_unknown_need_is_an_error() {
        let error = Graph::new(&plan(&[("a", &["gone"])])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "job `a` needs `gone`, which is not a job of the plan"
        );
    }

    #[test]
    fn repeated_needs_count_once() {
        let graph = Graph::new(&plan(&[("a", &[]), ("b", &["a", "a"])])).unwrap();
        assert_eq!(graph.edges(), 1);
    }

    #[test]
    fn a_plan_without_jobs_has_an_empty_graph() {
        assert!(Graph::new(&plan(&[])).unwrap().is_empty());
    }
}
