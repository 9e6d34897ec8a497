//! Checks artifacts: the jobs that output them, the jobs that restore them, and the places.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::names::Names;
use crate::{
    fault::{At, Refusal, Sink, Step, nearest, quoted},
    model::{Job, Plan},
    order, rules,
    structure::{fields, meant},
};

pub(super) fn check(plan: &Plan, names: &Names<'_>, at: &At<'_>, sink: &mut Sink) {
    let mut producers: HashMap<&str, Vec<u32>> = HashMap::new();
    for (rank, (name, job)) in plan.jobs.iter().enumerate() {
        let at = at.key(name.as_str());
        let at = at.key("outputs");
        for (artifact, path) in &job.outputs {
            let at = at.key(artifact);
            sink.check(&at, rules::file_name(artifact));
            sink.check(&at, rules::artifact_path(path));
            let others = producers.entry(artifact).or_default();
            if let Some(first) = others.first() {
                let first = names.name(*first);
                sink.add(&at, || {
                    Refusal::new(
                        format!("an artifact that `{first}` outputs, too"),
                        "a name of its own for each artifact",
                    )
                });
            }
            others.push(rank as u32);
        }
    }
    // If a job is missing, or its needs or outputs are broken or misspelt, correct inputs would
    // look wrong.
    let sources_are_known = !sink.any_broken(|place| match place {
        [Step::Key(jobs), _, Step::Key(field), ..] if jobs == "jobs" => {
            matches!(
                meant(field, fields(&["jobs", "*"])),
                Some("needs" | "outputs")
            )
        }
        [Step::Key(jobs), ..] => jobs == "jobs",
        _ => false,
    });
    let reached = if sources_are_known {
        Reached::new(plan, names, &producers)
    } else {
        Reached::default()
    };
    for (rank, (name, job)) in plan.jobs.iter().enumerate() {
        if job.inputs.is_empty() {
            continue;
        }
        let at = at.key(name.as_str());
        let at = at.key("inputs");
        for (i, input) in job.inputs.iter().enumerate() {
            sink.check(&at.index(i), rules::file_name(&input.name));
            sink.check(&at.index(i).key("path"), rules::workspace_path(&input.path));
            if !sources_are_known {
                continue;
            }
            let sources = producers
                .get(input.name.as_str())
                .map_or(&[][..], Vec::as_slice);
            if !sources
                .iter()
                .any(|source| reached.contains(names, rank as u32, *source))
            {
                let at = at.index(i);
                sink.add(&at, || {
                    no_source(&input.name, rank as u32, sources, names, &producers)
                });
            }
        }
        if job.inputs.len() > 1 {
            check_destinations(plan, names, job, &producers, &at, sink);
        }
    }
}

fn no_source(
    artifact: &str,
    own: u32,
    sources: &[u32],
    names: &Names<'_>,
    producers: &HashMap<&str, Vec<u32>>,
) -> Refusal {
    const EXPECTED: &str = "an artifact of a job that this job needs, directly or indirectly";
    match sources {
        [] => {
            let mut known: Vec<_> = producers.keys().copied().collect();
            known.sort_unstable();
            let near = nearest(artifact, known).map(|near| format!("did you mean `{near}`?"));
            Refusal::new(
                format!("{}, which no job outputs", quoted(artifact)),
                EXPECTED,
            )
            .maybe_hint(near)
        }
        [source] if *source == own => Refusal::new(
            format!("{}, which this job itself outputs", quoted(artifact)),
            EXPECTED,
        ),
        [source, ..] => {
            let (own, source) = (names.name(own), names.name(*source));
            Refusal::new(
                format!(
                    "{}, which `{source}` outputs and `{own}` does not need",
                    quoted(artifact)
                ),
                EXPECTED,
            )
            .hint(format!("add `{source}` to the needs of `{own}`"))
        }
    }
}

/// Reports inputs with the same destination. An artifact is restored under the path from which it
/// was saved.
fn check_destinations(
    plan: &Plan,
    names: &Names<'_>,
    job: &Job,
    producers: &HashMap<&str, Vec<u32>>,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let mut taken: BTreeMap<Vec<&str>, (usize, &str)> = BTreeMap::new();
    for (i, input) in job.inputs.iter().enumerate() {
        let saved_from = producers
            .get(input.name.as_str())
            .and_then(|sources| {
                plan.jobs[names.name(*sources.first()?)]
                    .outputs
                    .get(&input.name)
            })
            .map_or(input.name.as_str(), String::as_str);
        let destination: Vec<&str> = input
            .path
            .split('/')
            .chain(saved_from.split('/'))
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        match taken.get(&destination) {
            Some((first, name)) if *name == input.name => {
                sink.add(&at.index(i), || {
                    Refusal::new(
                        format!("{} again (it is inputs[{first}] already)", quoted(name)),
                        "each artifact once at a path",
                    )
                });
            }
            Some((first, name)) => sink.add(&at.index(i), || {
                let place = if destination.is_empty() {
                    ".".to_owned()
                } else {
                    destination.join("/")
                };
                let found = format!(
                    "{}, restored to {} like inputs[{first}], {}",
                    quoted(&input.name),
                    quoted(&place),
                    quoted(name)
                );
                Refusal::new(found, "a place of its own for each artifact")
                    .hint("give one of them another `path`")
            }),
            None => drop(taken.insert(destination, (i, &input.name))),
        }
    }
}

/// The indirect needs among jobs that share artifacts.
#[derive(Default)]
struct Reached {
    indirect: BTreeSet<(u32, u32)>,
}

impl Reached {
    fn contains(&self, names: &Names<'_>, job: u32, source: u32) -> bool {
        names.needs[job as usize].binary_search(&source).is_ok()
            || self.indirect.contains(&(job, source))
    }

    /// Finds the indirect needs in sweeps over all jobs, 64 sources a sweep. 5,000 jobs take
    /// milliseconds, and the memory grows linearly.
    fn new(plan: &Plan, names: &Names<'_>, producers: &HashMap<&str, Vec<u32>>) -> Self {
        let mut asked: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (rank, job) in plan.jobs.values().enumerate() {
            for source in job
                .inputs
                .iter()
                .filter_map(|input| producers.get(input.name.as_str()))
                .flatten()
            {
                if names.needs[rank].binary_search(source).is_err() {
                    asked.entry(*source).or_default().push(rank as u32);
                }
            }
        }
        let mut indirect = BTreeSet::new();
        if asked.is_empty() {
            return Self { indirect };
        }
        // With a cycle, one sweep in the order of names may not be enough.
        let order = order::topological(&names.needs);
        let again = order.is_none();
        let order = order.unwrap_or_else(|| (0..names.needs.len() as u32).collect());
        let mut place = vec![0; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(at, job)| place[*job as usize] = at);
        let mut sources: Vec<u32> = asked.keys().copied().collect();
        sources.sort_unstable_by_key(|source| place[*source as usize]);
        let mut reached = vec![0_u64; order.len()];
        let mut is_source = vec![0_u64; order.len()];
        for batch in sources.chunks(64) {
            // Skip the jobs before all sources and after all jobs that ask.
            let first = if again { 0 } else { place[batch[0] as usize] };
            let last = batch
                .iter()
                .flat_map(|source| &asked[source])
                .map(|job| place[*job as usize])
                .max()
                .unwrap_or(0);
            let swept = if again {
                &order[..]
            } else {
                order.get(first..=last).unwrap_or_default()
            };
            batch
                .iter()
                .enumerate()
                .for_each(|(bit, source)| is_source[*source as usize] = 1 << bit);
            loop {
                let mut changed = false;
                for job in swept {
                    let needs = &names.needs[*job as usize];
                    let bits = needs.iter().fold(0, |bits, need| {
                        bits | reached[*need as usize] | is_source[*need as usize]
                    });
                    changed |= bits != reached[*job as usize];
                    reached[*job as usize] = bits;
                }
                if !(again && changed) {
                    break;
                }
            }
            for (bit, source) in batch.iter().enumerate() {
                let askers = asked[source]
                    .iter()
                    .filter(|job| reached[**job as usize] >> bit & 1 == 1);
                indirect.extend(askers.map(|job| (*job, *source)));
            }
            swept.iter().for_each(|job| reached[*job as usize] = 0);
            batch
                .iter()
                .for_each(|source| is_source[*source as usize] = 0);
        }
        Self { indirect }
    }
}
