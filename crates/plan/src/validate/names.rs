//! The names of a plan's jobs, numbered, and the variables that the engine derives from the plan.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    fault::Refusal,
    ids::JobName,
    model::{Job, Plan},
    rules,
};

/// The jobs of a plan, numbered by name, and their needs.
pub(super) struct Names<'a> {
    by_rank: Vec<&'a JobName>,
    /// The needs of each job in ascending order. Unknown needs, repeated needs and the job itself
    /// are left out.
    pub(super) needs: Vec<Vec<u32>>,
    /// `NEEDS_<JOB>_` of every job.
    needs_variables: HashSet<String>,
    /// `STEPS_<ID>_` of every step with an id.
    steps_variables: HashSet<String>,
    /// `INPUT_<K>` of every input.
    input_variables: BTreeSet<String>,
    /// `MATRIX_<K>` of every value of every matrix.
    matrix_variables: BTreeSet<String>,
    /// The keys of all values of each matrix group: combinations of an `include` may have more.
    matrix_keys: HashMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Names<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let by_rank: Vec<_> = plan.jobs.keys().collect();
        let ranks: HashMap<&str, u32> = by_rank
            .iter()
            .enumerate()
            .map(|(rank, name)| (name.as_str(), rank as u32))
            .collect();
        let needs = plan
            .jobs
            .values()
            .enumerate()
            .map(|(own, job)| {
                let known = job
                    .needs
                    .iter()
                    .filter_map(|need| ranks.get(need.as_str()).copied());
                let mut needs: Vec<_> = known.filter(|rank| *rank as usize != own).collect();
                needs.sort_unstable();
                needs.dedup();
                needs
            })
            .collect();
        let mut matrix_keys: HashMap<_, BTreeSet<_>> = HashMap::new();
        for matrix in plan.jobs.values().filter_map(|job| job.matrix.as_ref()) {
            let keys = matrix_keys.entry(matrix.group.as_str()).or_default();
            keys.extend(matrix.values.keys().map(String::as_str));
        }
        Self {
            matrix_keys,
            needs,
            needs_variables: by_rank
                .iter()
                .map(|name| format!("NEEDS_{}_", rules::upper(name.as_str())))
                .collect(),
            steps_variables: plan
                .jobs
                .values()
                .flat_map(|job| &job.steps)
                .filter_map(|step| step.id.as_ref())
                .map(|id| format!("STEPS_{}_", rules::upper(id.as_str())))
                .collect(),
            input_variables: plan
                .inputs
                .keys()
                .map(|key| rules::input_variable(key))
                .collect(),
            matrix_variables: plan
                .jobs
                .values()
                .filter_map(|job| job.matrix.as_ref())
                .flat_map(|matrix| matrix.values.keys())
                .map(|key| rules::matrix_variable(key))
                .collect(),
            by_rank,
        }
    }

    /// Returns the keys that a job's expressions find in `matrix`, with a value or null.
    pub(super) fn matrix_keys(&self, job: &Job) -> impl Iterator<Item = &'a str> {
        let matrix = job.matrix.as_ref();
        let keys = matrix.and_then(|matrix| self.matrix_keys.get(matrix.group.as_str()));
        keys.into_iter().flatten().copied()
    }

    pub(super) fn name(&self, rank: u32) -> &'a JobName {
        self.by_rank[rank as usize]
    }

    /// Returns whether two jobs have the same variables in their dependents.
    pub(super) fn share_variables(&self) -> bool {
        self.needs_variables.len() < self.by_rank.len()
    }

    /// Checks that the engine does not derive this variable from the plan.
    pub(super) fn free_variable(&self, name: &str) -> Result<(), Refusal> {
        match self.source_of(name) {
            Some(source) => Err(Refusal::new(
                format!("the variable `{name}`"),
                format!("a variable that the engine does not set {source}"),
            )),
            None => Ok(()),
        }
    }

    /// Returns the part of the plan from which the engine sets a variable.
    pub(super) fn source_of(&self, name: &str) -> Option<&'static str> {
        let is_of = |kind: &str, variables: &HashSet<String>| {
            name.starts_with(kind)
                && name
                    .match_indices('_')
                    .any(|(at, _)| variables.contains(&name[..=at]))
        };
        if self.input_variables.contains(name) {
            Some("from the inputs")
        } else if self.matrix_variables.contains(name) {
            Some("from a matrix")
        } else if is_of("NEEDS_", &self.needs_variables) {
            Some("from the needs")
        } else if is_of("STEPS_", &self.steps_variables) {
            Some("from the steps")
        } else {
            None
        }
    }
}
