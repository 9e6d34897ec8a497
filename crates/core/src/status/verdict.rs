//! The verdict on a finished job: one pure function over all that is known of the job.
//!
//! systemd's word outranks the job's own. Knows neither how the evidence is gathered nor how the
//! verdict is recorded.

use super::{Gate, conclude};
use crate::{
    reason::{Loss, MainEnd, Reason, ReasonCode, ServiceResult},
    record::{Conclusion, JobRecord},
};

/// The end of a job as its own runner reports it. A job can forge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The reported outcome.
    pub outcome: Conclusion,
    /// The kind of the reported reason.
    pub code: Option<ReasonCode>,
    /// The text of the reported reason.
    pub text: Option<&'a str>,
}

impl<'a> Claim<'a> {
    /// Returns the claim that a record makes.
    pub fn of(record: &'a JobRecord) -> Self {
        Self {
            outcome: record.outcome,
            code: record.reason_code,
            text: record.reason.as_deref(),
        }
    }
}

/// How systemd's job for starting the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartEnd {
    /// The service ended with success.
    Done,
    /// The service failed, or took too long.
    Failed,
    /// The start was cancelled.
    Cancelled,
    /// A unit that the service requires has failed.
    Dependency,
    /// systemd's signal was missed.
    Unseen,
}

/// How a service ended, where that was not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvidence {
    /// systemd's result.
    pub result: ServiceResult,
    /// The end of the main process.
    pub main: MainEnd,
}

impl ServiceEvidence {
    /// Returns whether the kernel, systemd or a signal ended the service, and not its own exit. The
    /// service's own result is then incomplete.
    pub fn is_from_outside(&self) -> bool {
        !matches!(
            self.result,
            ServiceResult::Success | ServiceResult::ExitCode
        )
    }
}

/// The state of a run's cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// No cancellation was requested.
    No,
    /// Jobs are ending.
    Ending,
    /// Jobs were killed.
    Killed,
}

/// A submitted job whose unit has ended.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// How the start of the service ended.
    pub start: StartEnd,
    /// How the service ended.
    pub service: Option<ServiceEvidence>,
    /// The runner's report.
    pub claim: Option<Claim<'a>>,
    /// The decision of the job's gate, as far as its needs are finished.
    pub gate: Gate,
    /// Why `success()` is false over the job's needs.
    pub blocked: Option<Reason>,
    /// Whether the job runs only after the success of its needs.
    pub implies_success: bool,
    /// Whether the job's runner has reported its start.
    pub has_started: bool,
    /// Why the setup of the job's executor failed.
    pub setup: Option<Reason>,
    /// The state of the run's cancellation.
    pub cancel: Cancellation,
    /// Why the job's matrix group is being cancelled.
    pub matrix: Option<Reason>,
    /// Why the supervisor killed the job, if its time was over.
    pub overdue: Option<Reason>,
}

/// All that is known of a job that is over.
#[derive(Debug, Clone)]
pub enum Evidence<'a> {
    /// PID 1 does not get the job.
    NotSubmitted {
        /// The decision of the job's gate.
        gate: Gate,
        /// How a job ends that would have run, and why.
        otherwise: (Conclusion, Reason),
    },
    /// The job's unit has ended.
    Ended(Box<Ended<'a>>),
    /// The run has lost its supervisor for good.
    Lost {
        /// The cause.
        loss: Loss,
        /// The runner's report.
        claim: Option<Claim<'a>>,
        /// Whether the job's runner has reported its start.
        has_started: bool,
        /// Whether the run was being cancelled.
        is_cancelled: bool,
    },
    /// The runner of a dependent looks at its need. PID 1 starts a job when its needs are over.
    Need {
        /// The need's own report.
        claim: Option<Claim<'a>>,
        /// Whether the need's runner has reported its start.
        has_started: bool,
        /// Whether the setup of an executor comes before the need.
        has_setup: bool,
    },
}

/// The verdict on a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The end of the job itself.
    pub outcome: Conclusion,
    /// The end after `continueOnError`.
    pub conclusion: Conclusion,
    /// Why. Without it, the reason that the runner reported stands.
    pub reason: Option<Reason>,
    /// Whether the rest of the runner's report counts: its steps, outputs and times.
    pub keeps_report: bool,
    /// Whether systemd dropped the job, so that no runner could say so in the job's log.
    pub is_dropped: bool,
}

impl Verdict {
    fn new(outcome: Conclusion, reason: Option<Reason>) -> Self {
        Self {
            outcome,
            conclusion: outcome,
            reason,
            keeps_report: false,
            is_dropped: false,
        }
    }

    fn of_claim(claim: Claim<'_>) -> Self {
        Self {
            keeps_report: true,
            ..Self::new(claim.outcome, None)
        }
    }
}

/// Decides how a job ended. `tolerated` is the job's `continueOnError`.
pub fn verdict(evidence: &Evidence<'_>, tolerated: bool) -> Verdict {
    let found = match evidence {
        Evidence::NotSubmitted { gate, otherwise } => not_submitted(gate, otherwise),
        Evidence::Ended(ended) => of_ended(ended, tolerated),
        Evidence::Lost {
            loss,
            claim,
            has_started,
            is_cancelled,
        } => match (claim, has_started, is_cancelled) {
            (Some(claim), _, _) => Verdict::of_claim(*claim),
            (None, false, _) => Verdict::new(
                Conclusion::Cancelled,
                Some(Reason::LostBefore { loss: *loss }),
            ),
            (None, true, true) => {
                Verdict::new(Conclusion::Cancelled, Some(Reason::Lost { loss: *loss }))
            }
            (None, true, false) => {
                Verdict::new(Conclusion::Failure, Some(Reason::Lost { loss: *loss }))
            }
        },
        Evidence::Need {
            claim,
            has_started,
            has_setup,
        } => match (claim, has_started, has_setup) {
            (Some(claim), _, _) => Verdict::of_claim(*claim),
            // It was killed before it could report its end.
            (None, true, _) => Verdict::new(Conclusion::Failure, Some(Reason::NoResult)),
            // Either its setup failed, or its needs did. No dependent runs then, even if the
            // failure of the need itself is tolerated.
            (None, false, true) => {
                return Verdict::new(Conclusion::Failure, Some(Reason::NoResult));
            }
            // systemd dropped it after a failure of its own needs.
            (None, false, false) => Verdict::new(
                Conclusion::Skipped,
                Some(Reason::Need {
                    job: None,
                    conclusion: Conclusion::Failure,
                }),
            ),
        },
    };
    Verdict {
        conclusion: conclude(found.outcome, tolerated),
        ..found
    }
}

fn not_submitted(gate: &Gate, otherwise: &(Conclusion, Reason)) -> Verdict {
    let (outcome, reason) = match gate {
        Gate::Skip(reason) => (Conclusion::Skipped, reason),
        Gate::Cancel(reason) => (Conclusion::Cancelled, reason),
        Gate::Fail(reason) => (Conclusion::Failure, reason),
        Gate::Run | Gate::Ask(_) => (otherwise.0, &otherwise.1),
    };
    Verdict::new(outcome, Some(reason.clone()))
}

fn of_ended(ended: &Ended<'_>, tolerated: bool) -> Verdict {
    let claim = ended
        .claim
        .filter(|claim| !is_contradicted(claim, ended, tolerated));
    let skip = match &ended.gate {
        Gate::Skip(reason) => Some(reason),
        _ => None,
    };
    // A signal, or a full disk, may keep a runner from saying why its job does not run.
    let is_dropped = ended.start == StartEnd::Dependency || skip.is_some() && claim.is_none();
    // systemd stops a runner after the kernel killed a step for its memory, or after a timeout. The
    // runner then reports only that it was stopped.
    let is_from_outside = ended.cancel != Cancellation::Killed
        && ended
            .service
            .as_ref()
            .is_some_and(ServiceEvidence::is_from_outside);
    let mut found = match claim {
        Some(claim) if !is_from_outside => {
            if claim.code == Some(ReasonCode::UnitStopped) && ended.cancel != Cancellation::No {
                // At a shutdown systemd stops the jobs and the supervisor together, and a runner
                // cannot tell that from a stop of its own unit.
                Verdict {
                    keeps_report: true,
                    ..Verdict::new(Conclusion::Cancelled, Some(Reason::RunCancelled))
                }
            } else {
                Verdict::of_claim(claim)
            }
        }
        claim => {
            let (outcome, reason) = without_claim(ended, claim, skip.filter(|_| is_dropped));
            Verdict {
                keeps_report: claim.is_some(),
                ..Verdict::new(outcome, Some(reason))
            }
        }
    };
    if found.outcome == Conclusion::Skipped
        && ended.implies_success
        && let Some(blocked) = &ended.blocked
    {
        // A runner takes a need without a result for a failed one. The supervisor knows which needs
        // were skipped.
        found.reason = Some(blocked.clone());
    }
    Verdict {
        is_dropped,
        ..found
    }
}

/// Returns whether systemd contradicts a report of success. A runner's exit status agrees with its
/// report. A job that forges a report and then kills its runner gives one that disagrees.
fn is_contradicted(claim: &Claim<'_>, ended: &Ended<'_>, tolerated: bool) -> bool {
    let has_failed = ended.start == StartEnd::Failed
        || ended
            .service
            .as_ref()
            .is_some_and(|service| service.result == ServiceResult::ExitCode);
    has_failed
        && matches!(
            conclude(claim.outcome, tolerated),
            Conclusion::Success | Conclusion::Skipped
        )
}

/// Returns how a job ended whose runner did not report the end, or did not know all of it. `skip`
/// is why systemd dropped the job.
fn without_claim(
    ended: &Ended<'_>,
    claim: Option<Claim<'_>>,
    skip: Option<&Reason>,
) -> (Conclusion, Reason) {
    let is_dropped = skip.is_some() || ended.start == StartEnd::Dependency;
    // A job that runs in spite of a cancellation, and could not say how it went.
    let is_untold = matches!(ended.gate, Gate::Run | Gate::Ask(_))
        && ended
            .service
            .as_ref()
            .is_some_and(|service| service.main == MainEnd::NotRecorded);
    let is_cancelled = !is_untold && (ended.cancel != Cancellation::No || ended.matrix.is_some());
    let if_not_done = if is_cancelled {
        Conclusion::Cancelled
    } else {
        Conclusion::Failure
    };
    if let Some(setup) = &ended.setup
        && !matches!(ended.gate, Gate::Skip(_))
        && !ended.has_started
    {
        return (if_not_done, setup.clone());
    }
    let (outcome, reason) = match (skip, ended.start) {
        (Some(reason), _) => (Conclusion::Skipped, reason.clone()),
        (None, StartEnd::Dependency) => (
            Conclusion::Skipped,
            ended.blocked.clone().unwrap_or(Reason::Need {
                job: None,
                conclusion: Conclusion::Failure,
            }),
        ),
        (None, StartEnd::Cancelled) => (if_not_done, Reason::StartCancelled),
        (None, StartEnd::Done | StartEnd::Failed | StartEnd::Unseen) => {
            let own = claim
                .filter(|claim| claim.code == Some(ReasonCode::StepFailed))
                .and_then(|claim| claim.text);
            let service = ended.service.as_ref();
            let is_killed = service.is_some_and(|service| service.result == ServiceResult::Signal);
            let overdue = ended.overdue.clone().filter(|_| is_killed);
            let of_service = || {
                service.map_or(Reason::NoResult, |service| Reason::Service {
                    result: service.result.clone(),
                    main: service.main.clone(),
                    own: own.map(str::to_owned),
                })
            };
            (if_not_done, overdue.unwrap_or_else(of_service))
        }
    };
    let of_matrix = ended
        .matrix
        .clone()
        .filter(|_| !is_dropped && !is_untold && ended.cancel == Cancellation::No);
    (outcome, of_matrix.unwrap_or(reason))
}
