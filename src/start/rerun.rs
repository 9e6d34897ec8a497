//! Starts a run from an earlier one: with the same plan, source tree, inputs and variables, and
//! with the results and artifacts of the jobs that do not run again.

use std::path::{Path, PathBuf};

use super::{
    Choice, StartError, Started,
    collected::programs_of,
    environment,
    launch::{Files, New, Settings, this_program},
    manager,
    obtain::{self, ImagesUnit},
    reuse::Reuse,
};
use crate::{
    graph::{Graph, JobIx},
    ids::{JobName, RunId},
    interrupts::Interrupts,
    language,
    origin::{Origin, Trigger},
    plan::{self, Plan},
    record::{Conclusion, RunRecord},
    store::{self, Liveness, StateDir},
    unit::{ManagerKind, Notify, RunSpec},
};

/// The jobs that run again, besides their dependents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All jobs.
    All,
    /// The jobs that did not succeed.
    Failed,
    /// This job.
    Job(String),
}

/// The settings of a rerun.
#[derive(Debug)]
pub struct RerunRequest<'a> {
    /// The run.
    pub run: &'a str,
    /// The jobs to run.
    pub which: Which,
    /// The manager. If `None`, the manager of the earlier run.
    pub manager: Option<Choice>,
    /// `--env K=V`, in addition to the variables of the earlier run.
    pub env: &'a [String],
    /// `--env-file F`, likewise.
    pub env_files: &'a [PathBuf],
    /// `--secret-env-file F`. The earlier run's secrets are not kept.
    pub secret_env_files: &'a [PathBuf],
    /// `--images-by`: the unit that obtains the images for the run. Without it, the start obtains
    /// the images.
    pub images_by: Option<ImagesUnit<'a>>,
}

/// The reasons why a run cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// It has not ended.
    #[error("run `{0}` is still going on")]
    Running(RunId),
    /// It was never started.
    #[error("run `{0}` was never started: it has no run.json")]
    NeverStarted(RunId),
    /// `--failed` was given, but no job failed.
    #[error("no job of run `{0}` failed or was cancelled: each succeeded or was skipped")]
    NothingFailed(RunId),
    /// The earlier run had secret variables that this one lacks.
    #[error("run `{run}` was given secret variables, which are not kept: {}", names.join(", "))]
    Secrets {
        /// The run.
        run: RunId,
        /// The missing ones.
        names: Vec<String>,
    },
    /// Nix has removed a program of the run.
    #[error("a program of run `{run}` does not exist any more: Nix has collected `{}`", path.display())]
    Collected {
        /// The run.
        run: RunId,
        /// A program of its plan.
        path: PathBuf,
    },
    /// `--job` names an unknown job.
    #[error("run `{run}` has no job `{job}`")]
    NoJob {
        /// The run.
        run: RunId,
        /// The requested job.
        job: String,
        /// The known jobs.
        known: Vec<JobName>,
    },
}

impl RerunError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Running(run) => Some(format!(
                "`nixactions attach {run}` follows it to its end, `nixactions cancel {run}` ends it"
            )),
            Self::NeverStarted(_) => None,
            Self::Secrets { .. } => {
                Some("give them again with `--secret-env-file FILE`".to_owned())
            }
            Self::Collected { .. } => {
                Some("run the workflow anew: `nixactions run` builds it again".to_owned())
            }
            Self::NothingFailed(run) => {
                Some(format!("`nixactions rerun {run}` runs all of it again"))
            }
            Self::NoJob { job, known, .. } => plan::nearest(job, known.iter().map(JobName::as_str))
                .map(|known| format!("did you mean `{known}`?")),
        }
    }
}

/// Starts a run from an earlier one.
///
/// Fails if there is no such run, or it cannot be run again, and otherwise like [`super::start`].
pub async fn rerun(
    request: &RerunRequest<'_>,
    state_dir: &Path,
    interrupts: &mut Interrupts,
) -> Result<Started, StartError> {
    let from = StateDir::open(state_dir)?.run(request.run)?;
    match from.liveness() {
        Liveness::Running => return Err(RerunError::Running(from.id().clone()).into()),
        Liveness::Incomplete => return Err(RerunError::NeverStarted(from.id().clone()).into()),
        Liveness::Finished | Liveness::Lost => {}
    }
    let plan = plan::load(&from.plan())?;
    let unsupported = plan::unsupported(&plan);
    if !unsupported.is_empty() {
        return Err(StartError::Unsupported(unsupported));
    }
    let graph = Graph::new(&plan)?;
    let record = from.load_record()?;
    let again = selection(&graph, &record, &request.which)?;
    let part = part(&plan, &graph, &again);
    let mut programs = programs_of(&part).into_iter();
    if let Some(path) = programs.find(|path| language::is_collected(path)) {
        return Err(RerunError::Collected {
            run: from.id().clone(),
            path,
        }
        .into());
    }
    let old: RunSpec = store::read_document(&from.spec())?;
    // Inputs were checked at the start of the earlier run. The caller's environment is not read
    // again.
    let without_inputs = Plan {
        inputs: Default::default(),
        ..plan.clone()
    };
    let given = environment::collect(
        &without_inputs,
        request.env,
        request.env_files,
        request.secret_env_files,
        &[],
        |_| None,
    )
    .map_err(StartError::Environment)?;
    let is_given =
        |name: &String| given.secrets.contains_key(name) || given.overrides.contains_key(name);
    let missing: Vec<String> = old
        .secrets
        .iter()
        .flat_map(|secrets| &secrets.names)
        .filter(|name| !is_given(name))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(RerunError::Secrets {
            run: old.run,
            names: missing,
        }
        .into());
    }
    let mut overrides = old.overrides;
    overrides.retain(|name, _| !given.secrets.contains_key(name));
    overrides.extend(given.overrides);
    let program = this_program()?;
    let choice = request.manager.unwrap_or(Choice::Only(old.manager));
    let chosen = interrupts.unless(manager::choose(choice)).await??;
    // The other jobs are not started, so the images of their executors may be gone.
    let kind = chosen.kind();
    let unit = match request.images_by {
        Some(unit) => obtain::ask(&part, unit, kind, interrupts).await?,
        None => None,
    };
    let images = New::images(&part, state_dir, unit, &chosen, interrupts).await?;
    let build = std::fs::read_link(from.workflow()).ok();
    let reuse = Reuse::new(from, old.has_source, &plan, &graph, &record, &again);
    let reused = reuse.jobs();
    let notes = vec![match reused {
        0 => format!("all jobs of {} run again", reuse.run()),
        _ => format!(
            "{} of {} jobs of {} run again",
            graph.len() - reused,
            graph.len(),
            reuse.run()
        ),
    }];
    let new = New {
        plan: &plan,
        graph: &graph,
        files: Files::Run(&reuse),
        secrets: &given.secrets,
        build,
        program,
        settings: Settings {
            overrides,
            inputs: old.inputs,
            path: old.path,
            has_source: old.has_source,
            mounts_source: old.mounts_source && chosen.kind() != ManagerKind::User,
            max_parallel: old.max_parallel,
            origin: Origin {
                trigger: Trigger::Rerun,
                actor: super::actor(),
                ..old.origin.unwrap_or_else(unknown)
            },
            // Another manager has other units.
            notify: if chosen.kind() == old.manager {
                old.notify
            } else {
                Notify::default()
            },
            keep_failed: None,
            delays_shutdown: old.delays_shutdown,
        },
        chosen,
        images,
        notes,
    };
    new.start(state_dir, interrupts.mark()).await
}

/// Returns the origin of a run that an earlier version started.
fn unknown() -> Origin {
    Origin {
        trigger: Trigger::Rerun,
        repository: None,
        git_ref: None,
        commit: None,
        actor: None,
    }
}

/// Returns a plan with only the jobs that run again.
fn part(plan: &Plan, graph: &Graph, again: &[bool]) -> Plan {
    let jobs = graph.jobs().filter(|ix| again[ix.index()]);
    let jobs = jobs.filter_map(|ix| plan.jobs.get_key_value(graph.name(ix)));
    Plan {
        jobs: jobs
            .map(|(name, job)| (name.clone(), job.clone()))
            .collect(),
        ..plan.clone()
    }
}

/// Returns for each job whether it runs again. As on GitHub, this includes all its dependents.
fn selection(graph: &Graph, record: &RunRecord, which: &Which) -> Result<Vec<bool>, RerunError> {
    let conclusion = |ix: JobIx| record.jobs.get(graph.name(ix)).map(|job| job.conclusion);
    let seeds: Vec<JobIx> = match which {
        Which::All => graph.jobs().collect(),
        Which::Failed => {
            let has_failed = |ix| {
                !matches!(
                    conclusion(ix),
                    Some(Conclusion::Success | Conclusion::Skipped)
                )
            };
            if !graph.jobs().any(has_failed) {
                return Err(RerunError::NothingFailed(record.run.clone()));
            }
            graph
                .jobs()
                .filter(|ix| conclusion(*ix) != Some(Conclusion::Success))
                .collect()
        }
        Which::Job(job) => {
            let known = || job.parse().ok().and_then(|name: JobName| graph.ix(&name));
            let none = || RerunError::NoJob {
                run: record.run.clone(),
                job: job.clone(),
                known: graph.names().to_vec(),
            };
            vec![known().ok_or_else(none)?]
        }
    };
    let mut again = vec![false; graph.len()];
    for ix in seeds {
        again[ix.index()] = true;
        graph
            .descendants(ix)
            .into_iter()
            .for_each(|dependent| again[dependent.index()] = true);
    }
    Ok(again)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{event::Event, record::JobRecord};

    /// A chain a - b - c, and d and e after a.
    fn graph() -> Graph {
        let steps = serde_json::json!([{ "bash": "true" }]);
        let job = |needs: &[&str]| serde_json::json!({ "needs": needs, "steps": steps });
        let jobs = serde_json::json!({ "a": job(&[]), "b": job(&["a"]), "c": job(&["b"]), "d": job(&["a"]), "e": job(&["a"]) });
        Graph::new(
            &serde_json::from_value(
                serde_json::json!({ "version": 1, "name": "ci", "jobs": jobs }),
            )
            .unwrap(),
        )
        .unwrap()
    }

    fn record(conclusions: &[(&str, Conclusion)]) -> RunRecord {
        let mut record = Event::empty_record(
            "ci-1".parse().unwrap(),
            "ci".parse().unwrap(),
            Timestamp::default(),
        );
        for (job, conclusion) in conclusions {
            record.jobs.insert(
                job.parse().unwrap(),
                JobRecord {
                    conclusion: *conclusion,
                    ..JobRecord::new(String::new())
                },
            );
        }
        record
    }

    fn again(conclusions: &[(&str, Conclusion)], which: &Which) -> String {
        let graph = graph();
        let again = selection(&graph, &record(conclusions), which).unwrap();
        let mut names: Vec<&str> = graph
            .jobs()
            .filter(|ix| again[ix.index()])
            .map(|ix| graph.name(ix).as_str())
            .collect();
        names.sort_unstable();
        names.concat()
    }

    use Conclusion::{Cancelled, Failure, Skipped, Success};
    const FAILED: [(&str, Conclusion); 5] = [
        ("a", Success),
        ("b", Failure),
        ("c", Skipped),
        ("d", Success),
        ("e", Cancelled),
    ];

    #[test]
    fn failed_jobs_run_again_with_their_dependents() {
        assert_eq!(again(&FAILED, &Which::All), "abcde");
        assert_eq!(again(&FAILED, &Which::Failed), "bce");
        // A dependent that succeeded anyway, as with `always()`, saw a result that may change.
        assert_eq!(
            again(
                &[
                    ("a", Success),
                    ("b", Failure),
                    ("c", Success),
                    ("d", Success),
                    ("e", Success)
                ],
                &Which::Failed
            ),
            "bc"
        );
        // A lost run has no records of the jobs that it did not finish.
        assert_eq!(
            again(&[("a", Success), ("b", Success)], &Which::Failed),
            "cde"
        );
    }

    #[test]
    fn a_job_runs_again_with_its_dependents() {
        assert_eq!(again(&FAILED, &Which::Job("b".into())), "bc");
        assert_eq!(again(&FAILED, &Which::Job("d".into())), "d");
        let error = selection(&graph(), &record(&FAILED), &Which::Job("x".into())).unwrap_err();
        assert_eq!(error.to_string(), "run `ci-1` has no job `x`");
    }

    #[test]
    fn a_run_without_failure_has_nothing_to_run_again() {
        let fine = [
            ("a", Success),
            ("b", Success),
            ("c", Skipped),
            ("d", Success),
            ("e", Success),
        ];
        assert!(matches!(
            selection(&graph(), &record(&fine), &Which::Failed),
            Err(RerunError::NothingFailed(_))
        ));
    }
}
