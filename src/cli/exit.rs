//! How the program ends: what can go wrong, which exit status that is, and how it is told.

use std::{error::Error, fmt::Write as _, io, path::PathBuf, process::ExitCode};

use super::start::{ManagerError, SourceError, StartError};
use crate::{
    embedded::EmbeddedError,
    error::{escaped, escaped_lines},
    language::{LanguageError, TargetError},
    plan::PlanError,
    record::{Conclusion, RunRecord},
    store::StoreError,
    supervisor::SuperviseError,
};

/// An exit status of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The workflow succeeded, or the command did what it was asked.
    Success = 0,
    /// The workflow failed.
    Failure = 1,
    /// Bad usage or a bad plan: nothing was started.
    Usage = 2,
    /// systemd or I/O trouble.
    Trouble = 3,
    /// The workflow was cancelled: 128 + SIGINT.
    Cancelled = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Returns the exit status of `run` and `attach` for a run that ended like this.
    pub fn of(record: &RunRecord) -> Self {
        match record.conclusion {
            Some(Conclusion::Success | Conclusion::Skipped) => Self::Success,
            Some(Conclusion::Failure) => Self::Failure,
            Some(Conclusion::Cancelled) => Self::Cancelled,
            None => Self::Trouble,
        }
    }
}

/// What ends the program early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something is wrong with the run directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no plan from Nix.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// A run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The supervisor gave up.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// The state directory has no default here.
    #[error("no state directory: neither `XDG_STATE_HOME` nor `HOME` is set to an absolute path")]
    NoStateDir,
    /// The run has no such job.
    #[error("run `{run}` has no job `{job}`")]
    NoJob {
        /// The run.
        run: String,
        /// What was asked for.
        job: String,
        /// What might have been meant.
        hint: Option<String>,
    },
    /// There is nothing to cancel any more.
    #[error("run `{run}` is already finished: {conclusion}")]
    AlreadyFinished {
        /// The run.
        run: String,
        /// How it ended.
        conclusion: String,
    },
    /// The run was never started.
    #[error("run `{run}` was never started: it has no run.json")]
    NeverStarted {
        /// The run.
        run: String,
    },
    /// Nobody looks after the run any more.
    #[error("run `{run}` is lost: its supervisor is gone and left no record")]
    Lost {
        /// The run.
        run: String,
    },
    /// The run's own manager is gone, and the run with it.
    #[error("run `{run}` is lost: it has no manager any more")]
    ManagerGone {
        /// The run.
        run: String,
        /// How the manager ended.
        source: EmbeddedError,
    },
    /// An age that is none.
    #[error("`{text}` is no age")]
    BadAge {
        /// What was given.
        text: String,
    },
    /// A size that is none.
    #[error("invalid size `{text}`")]
    BadSize {
        /// What was given.
        text: String,
    },
    /// Somebody removed the run's directory.
    #[error("the directory of run `{run}` was removed while it went on")]
    Removed {
        /// The run.
        run: String,
    },
    /// journalctl cannot be started.
    #[error("failed to start `journalctl`")]
    Journal(#[source] io::Error),
    /// journalctl gave up.
    #[error("`journalctl` failed: {message}")]
    JournalFailed {
        /// What it said.
        message: String,
    },
    /// A file or directory that the user named cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The terminal or pipe cannot be written.
    #[error("failed to write the output")]
    Output(#[source] io::Error),
    /// The program cannot listen to signals or start its event loop.
    #[error("failed to set up the event loop")]
    Runtime(#[source] io::Error),
}

impl CliError {
    /// Returns the exit status: the one table of them.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(StoreError::NoRun { .. } | StoreError::BadRunId { .. }) => Exit::Usage,
            Self::Store(
                StoreError::Io { .. }
                | StoreError::Malformed { .. }
                | StoreError::NotPlain { .. }
                | StoreError::ThroughLink { .. }
                | StoreError::Special { .. }
                | StoreError::Swept { .. }
                | StoreError::OtherVersion { .. }
                | StoreError::Newer { .. },
            ) => Exit::Trouble,
            Self::Language(LanguageError::Failed { status, .. }) if status.code().is_none() => {
                Exit::Trouble
            }
            Self::Language(
                LanguageError::Target(_)
                | LanguageError::Failed { .. }
                | LanguageError::NeedsBuild { .. }
                | LanguageError::NoWorkflow { .. }
                | LanguageError::NoPlan { .. },
            ) => Exit::Usage,
            Self::Language(LanguageError::Missing { .. } | LanguageError::Start { .. }) => {
                Exit::Trouble
            }
            Self::Language(LanguageError::Interrupted) => Exit::Cancelled,
            Self::Start(error) => error.exit(),
            Self::Supervise(_) => Exit::Trouble,
            Self::NoStateDir
            | Self::NoJob { .. }
            | Self::AlreadyFinished { .. }
            | Self::BadAge { .. }
            | Self::BadSize { .. } => Exit::Usage,
            Self::NeverStarted { .. }
            | Self::Lost { .. }
            | Self::ManagerGone { .. }
            | Self::Removed { .. } => Exit::Trouble,
            Self::Journal(_) | Self::JournalFailed { .. } => Exit::Trouble,
            Self::Write { .. } | Self::Output(_) | Self::Runtime(_) => Exit::Trouble,
        }
    }

    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Language(error) => error.hint(),
            Self::Start(error) => error.hint(),
            Self::Supervise(SuperviseError::Store(error)) => error.hint(),
            Self::Supervise(_) => None,
            Self::NoStateDir => Some("name a directory with `--state-dir`".to_owned()),
            Self::NoJob { hint, .. } => hint.clone(),
            Self::BadAge { .. } => {
                Some("write a number and a unit, as in `12h`, `30d` or `2w`".to_owned())
            }
            Self::BadSize { .. } => {
                Some("write a number and a unit, as in `512M` or `10G`".to_owned())
            }
            Self::AlreadyFinished { run, .. } | Self::NeverStarted { run } => {
                Some(format!("`nixactions show {run}` tells what is known of it"))
            }
            Self::Lost { run } | Self::ManagerGone { run, .. } => Some(format!(
                "`nixactions show {run}` tells what it got done, `nixactions logs {run}` what it said"
            )),
            Self::Removed { .. } => Some(
                "its supervisor stops the jobs; to end a run, `nixactions cancel` it".to_owned(),
            ),
            Self::Journal(_) => {
                Some("journalctl belongs to systemd; logs cannot be read without it".to_owned())
            }
            Self::JournalFailed { message } if message.contains("permission") => {
                Some("run as root, or be in the group `systemd-journal`".to_owned())
            }
            Self::JournalFailed { .. }
            | Self::Write { .. }
            | Self::Output(_)
            | Self::Runtime(_) => None,
        }
    }

    /// Returns whether it is told in several lines, in which what comes from outside has been
    /// escaped.
    fn has_lines(&self) -> bool {
        match self {
            Self::Start(
                StartError::Plan(PlanError::Faulty { .. })
                | StartError::Unsupported(_)
                | StartError::Environment(_)
                | StartError::Manager(ManagerError::None { .. })
                // What others say of what went wrong.
                | StartError::Source(SourceError::Git { .. }),
            )
            | Self::JournalFailed { .. } => true,
            Self::Language(LanguageError::Target(TargetError::Nothing { .. })) => true,
            _ => false,
        }
    }

    /// Returns whether the reader of our output has gone: no trouble of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Returns an error with its causes, each stated once, and its hint, as it is told to the user:
/// what arguments, plans and others have said is escaped.
pub fn tell(error: &CliError, hint: Option<&str>) -> String {
    let safe = |text: &str| {
        if error.has_lines() {
            escaped_lines(text)
        } else {
            escaped(text).into_owned()
        }
    };
    let mut text = format!("error: {}", safe(&error.to_string()));
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !told.contains(&message) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  because: {}", escaped(&message));
        }
        told = message;
        next = cause.source();
    }
    if let Some(hint) = hint {
        // Those of several things that are wrong have a line each.
        let hint = if matches!(error, CliError::Start(_)) {
            escaped_lines(hint)
        } else {
            escaped(hint).into_owned()
        };
        let _ = write!(text, "\nhint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes_once_and_its_hint() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = CliError::from(StoreError::Io {
            action: "read",
            path: "/x".into(),
            source,
        });
        let told = tell(&error, error.hint().as_deref());
        assert_eq!(
            told,
            "error: failed to read `/x`\n  because: permission denied\nhint: run as root, or name a directory of your own with `--state-dir`"
        );
        let twice = CliError::JournalFailed {
            message: "no".into(),
        };
        assert_eq!(tell(&twice, None), "error: `journalctl` failed: no");
    }

    #[test]
    fn what_an_error_repeats_is_escaped() {
        let odd = "x\x1b[2J\rerror:\nhint: no".to_owned();
        let shown = r"x\x1b[2J\x0derror:\x0ahint: no";
        let error = CliError::NoJob {
            run: "ci-1".into(),
            job: odd.clone(),
            hint: Some(odd.clone()),
        };
        assert_eq!(
            tell(&error, error.hint().as_deref()),
            format!("error: run `ci-1` has no job `{shown}`\nhint: {shown}")
        );
        let fault = crate::plan::parse(
            b"{ \"version\": 1, \"name\": \"a\\u001bb\", \"jobs\": { \"a\\nb\": {} } }",
        )
        .unwrap_err();
        let error = CliError::from(StartError::from(PlanError::Faulty {
            path: odd.into(),
            faults: fault,
        }));
        let told = tell(&error, None);
        assert!(
            told.starts_with(&format!(
                "error: the plan `{shown}` has 2 faults:\n$.jobs[\"a\\nb\"]: "
            )),
            "{told}"
        );
        assert!(
            told.contains(r"the character `\x0a`")
                && told.contains(r"the character `\x1b`")
                && !told.contains('\x1b'),
            "{told}"
        );
    }

    #[test]
    fn a_run_without_conclusion_is_trouble() {
        let mut record = crate::event::Event::empty_record(
            "ci-1".parse().unwrap(),
            "ci".parse().unwrap(),
            Default::default(),
        );
        let mut exit = |conclusion| {
            record.conclusion = conclusion;
            Exit::of(&record) as u8
        };
        assert_eq!(exit(None), 3);
        assert_eq!(exit(Some(Conclusion::Success)), 0);
        assert_eq!(exit(Some(Conclusion::Failure)), 1);
        assert_eq!(exit(Some(Conclusion::Cancelled)), 130);
    }
}
