//! The exit statuses of the runner of a job.

use crate::record::Conclusion;

/// The exit status of a runner whose job failed.
const EXIT_FAILURE: u8 = 1;
/// The exit status of a runner that could not record its job's result (sysexits.h, `EX_IOERR`).
pub(super) const EXIT_NO_RESULT: u8 = 74;
/// The exit status of a runner whose job was cancelled.
const EXIT_CANCELLED: u8 = 130;

/// Returns the exit status of the runner of a job that ended in this way.
pub(super) fn exit_status(conclusion: Conclusion) -> u8 {
    match conclusion {
        Conclusion::Success | Conclusion::Skipped => 0,
        Conclusion::Failure => EXIT_FAILURE,
        Conclusion::Cancelled => EXIT_CANCELLED,
    }
}
