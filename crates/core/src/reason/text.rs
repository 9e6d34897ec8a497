//! The text of a reason, for people. No other module renders reasons, and no program reads the
//! text.

use std::fmt;

use super::{Loss, MainEnd, Reason};
use crate::{conclusion::Conclusion, ids::RunId};

const OUT_OF_MEMORY: &str = "killed by SIGKILL, out of memory";

/// Names the run that cancels a run of its concurrency group.
pub fn next_run(run: Option<&RunId>) -> String {
    run.map_or_else(
        || "a newer run".to_owned(),
        |run| format!("{run}, which is next in its concurrency group"),
    )
}

/// The longest part of a condition in a reason, in characters.
const SHOWN_CHARS: usize = 80;

/// Shows a condition in one line, and cut if it is long.
fn shown(condition: &str) -> String {
    let mut shown = condition.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = shown.char_indices().nth(SHOWN_CHARS) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Need { job, conclusion } => {
                match job {
                    Some(job) => write!(f, "need `{job}` ")?,
                    None => f.write_str("a need ")?,
                }
                f.write_str(match conclusion {
                    Conclusion::Success | Conclusion::Failure => "failed",
                    Conclusion::Cancelled => "was cancelled",
                    Conclusion::Skipped => "was skipped",
                })
            }
            Self::ConditionFalse { condition } => {
                write!(f, "condition `{}` was false", shown(condition))
            }
            Self::ConditionFailed { condition, why } => {
                let condition = shown(condition);
                write!(f, "condition `{condition}` could not be evaluated: {why}")
            }
            Self::RunCancelled => f.write_str("the run was cancelled"),
            Self::RunKilled => f.write_str("the run was killed"),
            Self::RunTimeout => f.write_str("timeout: the run took too long"),
            Self::Replaced { by: Some(run) } => write!(f, "replaced by {run}"),
            Self::Replaced { by: None } => f.write_str("replaced by a newer run"),
            Self::CancelledBy { run } => write!(f, "cancelled by {}", next_run(run.as_ref())),
            Self::GroupTaken { group } => write!(
                f,
                "another run entered the concurrency group `{group}` while this run had no supervisor"
            ),
            Self::MatrixFailed {
                job: Some((job, group)),
            } => write!(f, "job `{job}` of matrix `{group}` failed"),
            Self::MatrixFailed { job: None } => f.write_str("another job of its matrix failed"),
            Self::UnitStopped => f.write_str("its unit was stopped"),
            Self::EarlierStepFailed => f.write_str("an earlier step failed"),
            Self::NothingToClean { step } => write!(f, "step {step} did not start"),
            Self::JobCancelled => f.write_str("the job was cancelled"),
            Self::JobKilled => f.write_str("the job was killed"),
            Self::CleanupOver => f.write_str("the time for cleaning up was over"),
            Self::JobTimeIsOver => f.write_str("the job's time was over"),
            Self::StepCancelled => f.write_str("cancelled"),
            Self::StepTimeout { seconds } => write!(f, "timeout: took longer than {seconds} s"),
            Self::JobTimeout { seconds } => {
                write!(f, "timeout: the job took longer than {seconds} s")
            }
            Self::Exit { status } => write!(f, "exit status {status}"),
            Self::Signal { signal, core } => killed_by(f, signal, *core),
            Self::OutOfMemory => f.write_str(OUT_OF_MEMORY),
            Self::RunnerKilled {
                signal,
                is_out_of_memory,
            } => {
                f.write_str("its runner was ")?;
                if *is_out_of_memory {
                    f.write_str(OUT_OF_MEMORY)
                } else {
                    killed_by(f, signal, false)
                }
            }
            Self::Unfinished => f.write_str("the job's runner ended before the step"),
            Self::StepFailed { step, why } => write!(f, "step {step}: {why}"),
            Self::Provider { provider, why } => write!(f, "provider `{provider}`: {why}"),
            Self::Output { output, why } => write!(f, "output `{output}`: {why}"),
            Self::JobService { service, why } => write!(f, "service `{service}`: {why}"),
            Self::Slot { why } => write!(f, "failed to get a slot: {why}"),
            Self::DiskFull { what } => write!(f, "disk is full: {what}"),
            Self::Service { result, main, own } => {
                f.write_str(result.as_str())?;
                match own {
                    Some(own) => write!(f, ": {own}"),
                    None => main.fmt(f),
                }
            }
            Self::NoResult => f.write_str("its runner left no result"),
            Self::StartCancelled => f.write_str("its start was cancelled in systemd"),
            Self::Setup { executor, why } => {
                write!(f, "setupWorkspace of executor `{executor}`: {why}")
            }
            Self::Root { why } => write!(f, "its root file system: {why}"),
            Self::Lost { loss } => f.write_str(match loss {
                Loss::Machine => "lost: the machine went down",
                Loss::Manager => "lost: the run's manager was killed",
                Loss::Supervisor => "lost: the run's supervisor is gone",
                Loss::Damage => "lost: the run's `run.json` or plan is damaged",
            }),
            Self::LostBefore { loss } => f.write_str(match loss {
                Loss::Machine => "the machine went down before it started",
                Loss::Manager => "the run's manager was killed before it started",
                Loss::Supervisor => "the run's supervisor was gone before it started",
                Loss::Damage => "the run's `run.json` or plan was damaged before it started",
            }),
            Self::NotStarted { why }
            | Self::StepFiles { why }
            | Self::Expression { why }
            | Self::Workspace { why }
            | Self::ArtifactMissing { why }
            | Self::Artifact { why }
            | Self::Secrets { why }
            | Self::Submit { why }
            | Self::Untold { text: why } => f.write_str(why),
        }
    }
}

impl MainEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => return Ok(()),
            _ => f.write_str(": ")?,
        }
        match self {
            Self::Unknown => Ok(()),
            Self::NoCredentials => f.write_str("its credentials could not be loaded"),
            Self::NotRecorded => f.write_str(
                "its runner could not record the result; the log has the cause, such as a full disk",
            ),
            Self::NotStarted { status } => write!(
                f,
                "systemd could not start its runner (exit status {status})"
            ),
            Self::Exit { status } => write!(f, "exit status {status}"),
            Self::Signal { signal, core } => killed_by(f, signal, *core),
        }
    }
}

fn killed_by(f: &mut fmt::Formatter<'_>, signal: &str, core: bool) -> fmt::Result {
    let dumped = if core { ", core dumped" } else { "" };
    write!(f, "killed by {signal}{dumped}")
}
