//! The exit statuses of the program.

use std::process::ExitCode;

use crate::{follow::Followed, record::Conclusion};

/// An exit status of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The workflow or the command succeeded.
    Success = 0,
    /// The workflow failed.
    Failure = 1,
    /// Bad usage or a bad plan. Nothing was started.
    Usage = 2,
    /// An error of systemd or of a file operation.
    Trouble = 3,
    /// The workflow was cancelled: 128 + SIGINT.
    Cancelled = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Followed> for Exit {
    fn from(followed: Followed) -> Self {
        match followed {
            Followed::Run(Some(Conclusion::Success | Conclusion::Skipped)) | Followed::Lines => {
                Self::Success
            }
            Followed::Run(Some(Conclusion::Failure)) => Self::Failure,
            Followed::Run(Some(Conclusion::Cancelled)) | Followed::Left => Self::Cancelled,
            Followed::Run(None) => Self::Trouble,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_conclusion_is_trouble() {
        let mut record = crate::event::Event::empty_record(
            "ci-1".parse().unwrap(),
            "ci".parse().unwrap(),
            Default::default(),
        );
        let mut exit = |conclusion| {
            record.conclusion = conclusion;
            Exit::from(Followed::Run(record.conclusion)) as u8
        };
        assert_eq!(exit(None), 3);
        assert_eq!(exit(Some(Conclusion::Success)), 0);
        assert_eq!(exit(Some(Conclusion::Failure)), 1);
        assert_eq!(exit(Some(Conclusion::Cancelled)), 130);
    }
}
