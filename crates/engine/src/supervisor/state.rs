//! The state of each job of a run, owned by the supervisor: the only place that holds it.
//!
//! [`next`] makes every transition, and [`Jobs::apply`] is the only caller. Knows nothing of D-Bus,
//! files or time, and not which jobs come next (`wave`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    graph::{Graph, JobIx},
    reason::Reason,
    record::Conclusion,
    status::{self, Need},
};

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// PID 1 does not know it yet.
    Waiting,
    /// PID 1 got it.
    Submitted(Submitted),
    /// It is over.
    Finished(Conclusion),
}

/// The state of a job that PID 1 got, until the job is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The wave with which it was submitted.
    pub wave: u32,
    /// How far it came.
    pub phase: Phase,
    /// The user that the supervisor made for it.
    pub user: Option<String>,
    /// Its runner was asked to end, and must have reported something by then.
    pub answer_by: Option<Instant>,
    /// The supervisor ends the job at this time. `None` while the job waits for a slot, and where
    /// PID 1 ends it.
    pub end_by: Option<Instant>,
    /// `end_by` has passed.
    pub is_overdue: bool,
}

/// How far a submitted job came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not reported its start.
    Queued,
    /// Its runner waits for a place among the jobs that run at once.
    Waiting,
    /// Its steps run.
    Running,
    /// systemd will not start it any more, although its needs still run. Its outcome is known when
    /// the needs have ended.
    CalledOff,
}

/// A change of a job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// PID 1 got it with this wave. The supervisor made this user for it.
    Submit {
        /// The wave.
        wave: u32,
        /// The user.
        user: Option<String>,
    },
    /// Its runner reported that it waits for a place.
    Wait,
    /// Its runner reported that the steps begin. The supervisor ends it at this time, if any.
    Start(Option<Instant>),
    /// Its runner reported that it has a place before its start, or that the steps begin anew. The
    /// supervisor ends it at this time, if any, unless its time counts already.
    Place(Option<Instant>),
    /// The supervisor ended it, because it took too long.
    Expire,
    /// Its runner reported something.
    Report,
    /// systemd will not start it any more.
    CallOff,
    /// Its runner was asked to end, and must report something by this time.
    Ask(Instant),
    /// It is over.
    Finish(Conclusion),
}

/// Returns the state after a change, or `None` if the change changes nothing: a late report of a
/// job that is over, or the second finding of the same fact.
fn next(state: &State, change: Change) -> Option<State> {
    let submitted = match (state, change) {
        (State::Waiting, Change::Submit { wave, user }) => Submitted {
            wave,
            phase: Phase::Queued,
            user,
            answer_by: None,
            end_by: None,
            is_overdue: false,
        },
        (State::Waiting | State::Submitted(_), Change::Finish(conclusion)) => {
            return Some(State::Finished(conclusion));
        }
        (State::Submitted(job), Change::Start(end_by)) => Submitted {
            phase: Phase::Running,
            answer_by: None,
            end_by: job.end_by.or(end_by),
            ..job.clone()
        },
        (State::Submitted(job), Change::Place(end_by)) => Submitted {
            phase: match job.phase {
                Phase::Waiting => Phase::Queued,
                phase => phase,
            },
            answer_by: None,
            end_by: job.end_by.or(end_by),
            ..job.clone()
        },
        (State::Submitted(job), Change::Expire) => Submitted {
            end_by: None,
            is_overdue: true,
            ..job.clone()
        },
        (State::Submitted(job), Change::Wait) if job.phase != Phase::Running => Submitted {
            phase: Phase::Waiting,
            answer_by: None,
            ..job.clone()
        },
        // Its runner was killed. The next one waits for a place again.
        (State::Submitted(job), Change::Wait) => Submitted {
            answer_by: None,
            end_by: None,
            ..job.clone()
        },
        (State::Submitted(job), Change::Report) if job.answer_by.is_some() => Submitted {
            answer_by: None,
            ..job.clone()
        },
        (State::Submitted(job), Change::CallOff) if job.phase == Phase::Queued => Submitted {
            phase: Phase::CalledOff,
            ..job.clone()
        },
        // The first request counts: the runner had its time since then.
        (State::Submitted(job), Change::Ask(by)) if job.answer_by.is_none() => Submitted {
            answer_by: Some(by),
            ..job.clone()
        },
        (State::Waiting | State::Submitted(_) | State::Finished(_), _) => return None,
    };
    Some(State::Submitted(submitted))
}

/// The clean-up after the end of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// The wave, if it was the last job of its wave.
    pub wave: Option<u32>,
    /// Its user.
    pub user: Option<String>,
}

/// The states of all jobs.
#[derive(Debug)]
pub struct Jobs {
    states: Vec<State>,
    /// The jobs that PID 1 got and that are not over: an index into `states`, as these are few.
    submitted: BTreeSet<JobIx>,
    /// The number of these for each wave.
    waves: BTreeMap<u32, usize>,
    next_wave: u32,
    finished: usize,
    failed: usize,
}

impl Jobs {
    /// Returns the states in a run before its start.
    pub fn new(graph: &Graph) -> Self {
        Self {
            states: vec![State::Waiting; graph.len()],
            submitted: BTreeSet::new(),
            waves: BTreeMap::new(),
            next_wave: 0,
            finished: 0,
            failed: 0,
        }
    }

    /// Changes the state of a job. Returns the clean-up, if the job ends by this.
    pub fn apply(&mut self, ix: JobIx, change: Change) -> Option<Left> {
        let state = next(self.state(ix), change)?;
        let before = std::mem::replace(&mut self.states[ix.index()], state);
        match (before, &self.states[ix.index()]) {
            (State::Waiting, State::Submitted(job)) => {
                self.submitted.insert(ix);
                *self.waves.entry(job.wave).or_default() += 1;
                self.next_wave = self.next_wave.max(job.wave + 1);
                None
            }
            (before, State::Finished(conclusion)) => {
                self.finished += 1;
                self.failed += usize::from(*conclusion == Conclusion::Failure);
                let State::Submitted(job) = before else {
                    return Some(Left::default());
                };
                self.submitted.remove(&ix);
                let is_last = self.leave_wave(job.wave);
                Some(Left {
                    wave: is_last.then_some(job.wave),
                    user: job.user,
                })
            }
            (State::Waiting | State::Submitted(_) | State::Finished(_), _) => None,
        }
    }

    /// Takes a job out of its wave. Returns whether it was the last one.
    fn leave_wave(&mut self, wave: u32) -> bool {
        let left = self.waves.entry(wave).or_default();
        *left = left.saturating_sub(1);
        let is_last = *left == 0;
        if is_last {
            self.waves.remove(&wave);
        }
        is_last
    }

    /// Returns the state of a job.
    pub fn state(&self, ix: JobIx) -> &State {
        &self.states[ix.index()]
    }

    /// Returns whether a job is over.
    pub fn is_finished(&self, ix: JobIx) -> bool {
        matches!(self.state(ix), State::Finished(_))
    }

    /// Returns whether PID 1 got a job that is not over.
    pub fn is_submitted(&self, ix: JobIx) -> bool {
        matches!(self.state(ix), State::Submitted(_))
    }

    /// Returns whether PID 1 does not know a job yet, and the job is not over.
    pub fn is_waiting(&self, ix: JobIx) -> bool {
        *self.state(ix) == State::Waiting
    }

    /// Returns the number of the next wave.
    pub fn next_wave(&self) -> u32 {
        self.next_wave
    }

    /// Returns whether PID 1 ever got jobs of the run.
    pub fn has_submitted(&self) -> bool {
        self.next_wave > 0
    }

    /// Returns how many jobs are over.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Returns how many jobs are not over.
    pub fn unfinished(&self) -> usize {
        self.states.len() - self.finished
    }

    /// Returns how many jobs wait to be submitted.
    pub fn waiting(&self) -> usize {
        self.unfinished() - self.submitted.len()
    }

    /// Returns how many jobs failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Returns whether all jobs are over.
    pub fn is_done(&self) -> bool {
        self.unfinished() == 0
    }

    /// Returns the unfinished jobs that PID 1 knows, in topological order.
    pub fn pending(&self) -> impl Iterator<Item = JobIx> + '_ {
        self.submitted.iter().copied()
    }

    /// Returns the pending jobs with their states.
    fn submitted(&self) -> impl Iterator<Item = (JobIx, &Submitted)> {
        self.pending().filter_map(|ix| match self.state(ix) {
            State::Submitted(job) => Some((ix, job)),
            State::Waiting | State::Finished(_) => None,
        })
    }

    /// Returns the jobs whose steps run.
    pub fn running(&self) -> impl Iterator<Item = JobIx> + '_ {
        self.in_phase(Phase::Running)
    }

    /// Returns the jobs whose runners wait for a place.
    pub fn kept_waiting(&self) -> impl Iterator<Item = JobIx> + '_ {
        self.in_phase(Phase::Waiting)
    }

    /// Returns the jobs that systemd will not start any more.
    pub fn called_off(&self) -> impl Iterator<Item = JobIx> + '_ {
        self.in_phase(Phase::CalledOff)
    }

    fn in_phase(&self, phase: Phase) -> impl Iterator<Item = JobIx> + '_ {
        self.submitted()
            .filter(move |(_, job)| job.phase == phase)
            .map(|(ix, _)| ix)
    }

    /// Returns the jobs whose runners were asked to end and have reported nothing since, each with
    /// the time by which they must.
    pub fn asked(&self) -> impl Iterator<Item = (JobIx, Instant)> + '_ {
        self.submitted()
            .filter_map(|(ix, job)| Some((ix, job.answer_by?)))
    }

    /// Returns the jobs that the supervisor ends, each with the time at which it does.
    pub fn bounded(&self) -> impl Iterator<Item = (JobIx, Instant)> + '_ {
        self.submitted()
            .filter_map(|(ix, job)| Some((ix, job.end_by?)))
    }

    /// Returns whether the supervisor ended a job, because it took too long.
    pub fn is_overdue(&self, ix: JobIx) -> bool {
        matches!(self.state(ix), State::Submitted(job) if job.is_overdue)
    }

    /// Returns whether all needs of a job are over.
    pub fn is_ready(&self, graph: &Graph, ix: JobIx) -> bool {
        graph.needs(ix).iter().all(|need| self.is_finished(*need))
    }

    /// Returns the failed jobs.
    pub fn failed_jobs(&self) -> impl Iterator<Item = JobIx> + '_ {
        let states = self.states.iter().enumerate();
        states
            .filter(|(_, state)| **state == State::Finished(Conclusion::Failure))
            .map(|(index, _)| JobIx(index as u32))
    }

    /// Returns the conclusions of all jobs that are over.
    pub fn conclusions(&self) -> impl Iterator<Item = Conclusion> + '_ {
        self.states.iter().filter_map(|state| match state {
            State::Finished(conclusion) => Some(*conclusion),
            State::Waiting | State::Submitted(_) => None,
        })
    }

    /// Returns the needs of a job that are over, as its gate sees them.
    pub fn needs(&self, graph: &Graph, ix: JobIx) -> Vec<Need> {
        let has_failed = |ix: JobIx| *self.state(ix) == State::Finished(Conclusion::Failure);
        let need = |need: &JobIx| match self.state(*need) {
            State::Finished(conclusion) => Some(Need {
                job: graph.name(*need).clone(),
                conclusion: *conclusion,
                failed: has_failed(*need) || graph.ancestors(*need).any(has_failed),
            }),
            State::Waiting | State::Submitted(_) => None,
        };
        graph.needs(ix).iter().filter_map(need).collect()
    }

    /// Returns why `success()` is false for a job, as far as its needs are over.
    pub fn why_blocked(&self, graph: &Graph, ix: JobIx) -> Option<Reason> {
        let needs = graph
            .needs(ix)
            .iter()
            .filter_map(|need| match self.state(*need) {
                State::Finished(conclusion) => Some((graph.name(*need), *conclusion)),
                State::Waiting | State::Submitted(_) => None,
            });
        status::blocked(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use Conclusion::{Failure, Success};

    fn submitted(phase: Phase, answer_by: Option<Instant>) -> State {
        State::Submitted(Submitted {
            wave: 3,
            phase,
            user: Some("u".into()),
            answer_by,
            end_by: None,
            is_overdue: false,
        })
    }

    fn bounded(phase: Phase, end_by: Option<Instant>, is_overdue: bool) -> State {
        State::Submitted(Submitted {
            wave: 3,
            phase,
            user: Some("u".into()),
            answer_by: None,
            end_by,
            is_overdue,
        })
    }

    #[test]
    fn a_job_is_bounded_while_it_does_not_wait() {
        use Phase::{Queued, Running, Waiting};
        let at = Instant::now();
        let later = at + std::time::Duration::from_secs(1);
        let waits = || bounded(Waiting, None, false);
        let runs = || bounded(Running, Some(at), false);
        // Its runner was killed, and the next one waits.
        let waits_again = || bounded(Running, None, false);
        let over = || bounded(Running, None, true);
        let table = [
            (bounded(Queued, None, false), Change::Wait, waits()),
            (waits(), Change::Start(Some(at)), runs()),
            (
                waits(),
                Change::Place(Some(at)),
                bounded(Queued, Some(at), false),
            ),
            (
                bounded(Queued, Some(at), false),
                Change::Start(Some(later)),
                runs(),
            ),
            (runs(), Change::Start(Some(later)), runs()),
            (runs(), Change::Place(Some(later)), runs()),
            (runs(), Change::Wait, waits_again()),
            (waits_again(), Change::Place(Some(at)), runs()),
            (runs(), Change::Expire, over()),
        ];
        for (state, change, expected) in table {
            let found = next(&state, change.clone());
            assert_eq!(found, Some(expected), "{state:?} {change:?}");
        }
        assert_eq!(next(&State::Waiting, Change::Expire), None);
        assert_eq!(next(&State::Finished(Failure), Change::Expire), None);
    }

    #[test]
    fn each_change_leads_to_one_state() {
        let at = Instant::now();
        let later = at + std::time::Duration::from_secs(1);
        let queued = || submitted(Phase::Queued, None);
        let running = || submitted(Phase::Running, None);
        let called_off = || submitted(Phase::CalledOff, None);
        let asked = || submitted(Phase::Running, Some(at));
        let over = || State::Finished(Failure);
        let submit = || Change::Submit {
            wave: 3,
            user: Some("u".into()),
        };
        let table: Vec<(State, Change, Option<State>)> = vec![
            (State::Waiting, submit(), Some(queued())),
            (State::Waiting, Change::Finish(Failure), Some(over())),
            (State::Waiting, Change::Start(None), None),
            (State::Waiting, Change::Report, None),
            (State::Waiting, Change::CallOff, None),
            (State::Waiting, Change::Ask(at), None),
            (queued(), submit(), None),
            (queued(), Change::Start(None), Some(running())),
            (queued(), Change::Report, None),
            (queued(), Change::CallOff, Some(called_off())),
            (
                queued(),
                Change::Ask(at),
                Some(submitted(Phase::Queued, Some(at))),
            ),
            (queued(), Change::Finish(Failure), Some(over())),
            (running(), submit(), None),
            (running(), Change::Start(None), Some(running())),
            (running(), Change::CallOff, None),
            (running(), Change::Ask(at), Some(asked())),
            (running(), Change::Finish(Failure), Some(over())),
            (asked(), Change::Ask(later), None),
            (asked(), Change::Report, Some(running())),
            (asked(), Change::Start(None), Some(running())),
            (asked(), Change::Finish(Failure), Some(over())),
            // The file of its events shows that it has begun, so systemd did start it.
            (called_off(), Change::Start(None), Some(running())),
            (called_off(), Change::CallOff, None),
            (called_off(), Change::Finish(Failure), Some(over())),
            (over(), submit(), None),
            (over(), Change::Start(None), None),
            (over(), Change::Report, None),
            (over(), Change::CallOff, None),
            (over(), Change::Ask(at), None),
            (over(), Change::Finish(Success), None),
        ];
        for (state, change, expected) in table {
            assert_eq!(
                next(&state, change.clone()),
                expected,
                "{state:?} {change:?}"
            );
        }
    }

    #[test]
    fn the_last_job_of_a_wave_ends_it() {
        let step = serde_json::json!([{ "bash": "true" }]);
        let plan = serde_json::json!({ "version": 1, "name": "g", "jobs": {
            "a": { "steps": step }, "b": { "steps": step }, "c": { "steps": step } } });
        let plan: Plan = serde_json::from_value(plan).unwrap();
        let graph = Graph::new(&plan).unwrap();
        let mut jobs = Jobs::new(&graph);
        let [a, b, c] = [0, 1, 2].map(JobIx);
        for ix in [a, b] {
            let user = (ix == a).then(|| "u".to_owned());
            assert_eq!(jobs.apply(ix, Change::Submit { wave: 0, user }), None);
        }
        assert_eq!((jobs.next_wave(), jobs.waiting()), (1, 1));
        jobs.apply(b, Change::Start(None));
        assert_eq!(jobs.running().collect::<Vec<_>>(), [b]);
        let left = |wave, user: Option<&str>| {
            Some(Left {
                wave,
                user: user.map(str::to_owned),
            })
        };
        assert_eq!(
            jobs.apply(a, Change::Finish(Failure)),
            left(None, Some("u"))
        );
        assert_eq!(jobs.apply(a, Change::Finish(Success)), None, "it is over");
        assert_eq!(jobs.apply(b, Change::Finish(Success)), left(Some(0), None));
        assert_eq!(jobs.apply(c, Change::Finish(Success)), left(None, None));
        assert_eq!((jobs.finished(), jobs.failed()), (3, 1));
        assert!(jobs.is_done() && jobs.pending().next().is_none());
    }
}
