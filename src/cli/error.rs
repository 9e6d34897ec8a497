//! The program's errors, with the exit status and the message of each.

use std::{error::Error, fmt::Write as _, io, path::PathBuf};

use super::{Exit, OperateError};
use crate::{
    embedded::EmbeddedError,
    error::{escaped, escaped_lines},
    follow::FollowError,
    images::ImageError,
    language::{LanguageError, TargetError},
    plan::PlanError,
    shell::ShellError,
    start::{ManagerError, RerunError, SourceError, StartError},
    store::StoreError,
    supervisor::SuperviseError,
};

impl From<FollowError> for CliError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Store(error) => Self::Store(error),
            FollowError::Output(error) => Self::Output(error),
            FollowError::Signals(error) => Self::Runtime(error),
            other => Self::Follow(other),
        }
    }
}

/// The errors that end the program early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The run directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Nix did not give a plan.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// A run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A run was not followed to its end.
    #[error(transparent)]
    Follow(FollowError),
    /// There is no shell.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// The supervisor failed.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// The command is not run for an operator.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// There is no default for the state directory.
    #[error("no state directory: neither `XDG_STATE_HOME` nor `HOME` is set to an absolute path")]
    NoStateDir,
    /// The run has no such job.
    #[error("run `{run}` has no job `{job}`")]
    NoJob {
        /// The run.
        run: String,
        /// The requested job.
        job: String,
        /// A suggestion, if a job has a similar name.
        hint: Option<String>,
    },
    /// The run has ended, so there is nothing to cancel.
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
    /// The run's own manager ended, and the run with it.
    #[error("run `{run}` is lost: its manager has ended")]
    ManagerGone {
        /// The run.
        run: String,
        /// How the manager ended.
        source: EmbeddedError,
    },
    /// The age cannot be parsed.
    #[error("invalid age `{text}`")]
    BadAge {
        /// The given text.
        text: String,
    },
    /// A time is none.
    #[error("invalid time `{text}`")]
    BadTime {
        /// The given text.
        text: String,
    },
    /// The size cannot be parsed.
    #[error("invalid size `{text}`")]
    BadSize {
        /// The given text.
        text: String,
    },
    /// A file or directory that the user named cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file or directory.
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
    /// Returns the exit status. This is the only table of exit statuses.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(StoreError::NoRun { .. } | StoreError::BadRunId { .. }) => Exit::Usage,
            Self::Store(
                StoreError::Io { .. }
                | StoreError::Malformed { .. }
                | StoreError::NotPlain { .. }
                | StoreError::TooLarge { .. }
                | StoreError::ThroughLink { .. }
                | StoreError::Special { .. }
                | StoreError::BadLimit { .. }
                | StoreError::Swept { .. }
                | StoreError::OtherVersion { .. }
                | StoreError::Newer { .. },
            ) => Exit::Trouble,
            Self::Image(error) => of_image(error),
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
            Self::Start(error) => of_start(error),
            Self::Supervise(_) => Exit::Trouble,
            Self::Operate(error) => error.exit(),
            Self::Shell(ShellError::NotRunning)
            | Self::NoStateDir
            | Self::NoJob { .. }
            | Self::AlreadyFinished { .. }
            | Self::BadAge { .. }
            | Self::BadTime { .. }
            | Self::BadSize { .. } => Exit::Usage,
            Self::NeverStarted { .. } | Self::ManagerGone { .. } | Self::Shell(_) => Exit::Trouble,
            Self::Follow(
                FollowError::Store(_)
                | FollowError::Lost { .. }
                | FollowError::Removed { .. }
                | FollowError::Journal(_)
                | FollowError::JournalFailed { .. }
                | FollowError::Output(_)
                | FollowError::Signals(_),
            ) => Exit::Trouble,
            Self::Write { .. } | Self::Output(_) | Self::Runtime(_) => Exit::Trouble,
        }
    }

    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Language(error) => error.hint(),
            Self::Start(error) => error.hint(),
            Self::Supervise(SuperviseError::Store(error)) => error.hint(),
            Self::Supervise(_) => None,
            Self::Operate(error) => error.hint(),
            Self::NoStateDir => Some("name a directory with `--state-dir`".to_owned()),
            Self::NoJob { hint, .. } => hint.clone(),
            Self::BadAge { .. } => {
                Some("write a number and a unit, as in `12h`, `30d` or `2w`".to_owned())
            }
            Self::BadTime { .. } => {
                Some("write a number and a unit, as in `30m` or `2h`".to_owned())
            }
            Self::BadSize { .. } => {
                Some("write a number and a unit, as in `512M` or `10G`".to_owned())
            }
            Self::AlreadyFinished { run, .. } | Self::NeverStarted { run } => {
                Some(format!("see `nixactions show {run}`"))
            }
            Self::ManagerGone { run, .. } => Some(format!(
                "`nixactions show {run}` shows its finished jobs, `nixactions logs {run}` its output"
            )),
            Self::Follow(error) => error.hint(),
            Self::Shell(error) => error.hint(),
            Self::Write { .. } | Self::Output(_) | Self::Runtime(_) => None,
        }
    }

    /// Returns whether the message has several lines, in which text from outside is already
    /// escaped.
    fn has_lines(&self) -> bool {
        match self {
            Self::Start(
                StartError::Plan(PlanError::Faulty { .. })
                | StartError::Unsupported(_)
                | StartError::Environment(_)
                | StartError::Manager(ManagerError::None { .. })
                // The messages of a unit.
                | StartError::Unobtained { .. }
                // git's own messages.
                | StartError::Source(SourceError::Git { .. }),
            ) => true,
            Self::Follow(error) => has_lines(error),
            Self::Language(LanguageError::Target(TargetError::Nothing { .. })) => true,
            _ => false,
        }
    }

    /// Returns whether the reader of the output is gone, which is not a fault.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Returns the exit status of an image that cannot be used.
pub(super) fn of_image(error: &ImageError) -> Exit {
    match error {
        ImageError::Io { .. }
        | ImageError::Write { .. }
        | ImageError::Held { .. }
        | ImageError::Unreachable { .. }
        | ImageError::Status { .. }
        | ImageError::Registry { .. } => Exit::Trouble,
        ImageError::Name(_)
        | ImageError::Missing { .. }
        | ImageError::NoImage { .. }
        | ImageError::NoArchive { .. }
        | ImageError::Malformed { .. }
        | ImageError::Unusable { .. }
        | ImageError::Digest { .. }
        | ImageError::Size { .. }
        | ImageError::Platform { .. }
        | ImageError::Several { .. }
        | ImageError::Absent { .. }
        | ImageError::Broken { .. }
        | ImageError::Entry { .. }
        | ImageError::TooLarge { .. }
        | ImageError::Login { .. }
        | ImageError::Logins { .. }
        | ImageError::NotKept { .. }
        | ImageError::InUse { .. }
        | ImageError::Unknown { .. }
        | ImageError::Ambiguous { .. } => Exit::Usage,
    }
}

/// Returns the exit status of a run that was not started: bad usage for a bad plan or request,
/// trouble for everything else.
fn of_start(error: &StartError) -> Exit {
    match error {
        StartError::Plan(PlanError::Faulty { .. } | PlanError::Read { .. })
        | StartError::Unsupported(_)
        | StartError::Graph(_)
        | StartError::Environment(_)
        | StartError::Notify { .. }
        | StartError::BadUnit { .. }
        | StartError::ImagesSize { .. }
        | StartError::Roots(_) => Exit::Usage,
        StartError::Image { source, .. } => of_image(source),
        StartError::Source(SourceError::NotADirectory(_) | SourceError::Misled { .. })
        | StartError::Store(StoreError::NoRun { .. } | StoreError::BadRunId { .. }) => Exit::Usage,
        StartError::Rerun(
            RerunError::Running(_)
            | RerunError::NothingFailed(_)
            | RerunError::NoJob { .. }
            | RerunError::Secrets { .. }
            | RerunError::Collected { .. },
        ) => Exit::Usage,
        StartError::Rerun(RerunError::NeverStarted(_)) => Exit::Trouble,
        StartError::Source(_)
        | StartError::Manager(_)
        | StartError::Store(_)
        | StartError::Systemd(_)
        | StartError::Embedded(_)
        | StartError::NoRunner { .. }
        | StartError::Unobtained { .. }
        | StartError::Program { .. }
        | StartError::Here(..) => Exit::Trouble,
        StartError::Interrupted(_) => Exit::Cancelled,
    }
}

/// Returns the message for the user: the error, each cause once, and the hint. Text from arguments,
/// plans and other programs is escaped.
pub fn tell(error: &CliError, hint: Option<&str>) -> String {
    // The hints of several faults have one line each.
    let has_hints = matches!(error, CliError::Start(_));
    rendered(error, error.has_lines(), hint, has_hints)
}

/// Returns the message for an error of the code that follows a run.
pub(super) fn tell_follow(error: &FollowError) -> String {
    rendered(error, has_lines(error), error.hint().as_deref(), false)
}

/// Returns whether the message of an error has several lines.
fn has_lines(error: &FollowError) -> bool {
    matches!(error, FollowError::JournalFailed { .. })
}

fn rendered(error: &dyn Error, has_lines: bool, hint: Option<&str>, has_hints: bool) -> String {
    let safe = |text: &str| {
        if has_lines {
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
        let hint = if has_hints {
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
    fn an_error_shows_each_cause_once_and_its_hint() {
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
        let twice = CliError::from(FollowError::JournalFailed {
            message: "no".into(),
            is_denied: false,
        });
        assert_eq!(tell(&twice, None), "error: `journalctl` failed: no");
    }

    #[test]
    fn errors_escape_text_from_outside() {
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
}
