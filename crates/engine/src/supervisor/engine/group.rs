//! The run's turn in its concurrency group. The run takes its turn before it submits anything, and
//! holds it until the supervisor's unit has ended.
//!
//! The descriptor of the lock is also in systemd's file descriptor store of the unit
//! (sd_pid_notify_with_fds(3)). A supervisor that is killed and restarted finds it there, and no
//! other run can have entered the group in between. The store goes with the unit, or with systemd.

use std::{os::fd::AsFd, time::Instant};

use jiff::Timestamp;
use sd_notify::NotifyState;

use super::{Engine, SuperviseError, cancel::Cancel};
use crate::{
    error::describe,
    event::EventKind,
    graph::JobIx,
    ids::RunId,
    plan::Setting,
    reason::Reason,
    record::Conclusion,
    status::Gate,
    store::{Arrival, ConcurrencyGroup, GroupLock, StoreError},
    supervisor::{status_line, watch::Change},
};

/// The end of the wait for the group.
enum Turn {
    Come(GroupLock),
    /// The run must not begin, for this reason.
    Never(Reason),
}

impl Engine<'_> {
    /// Waits for the run's turn. Returns whether the turn came. If not, all jobs have been recorded
    /// as cancelled.
    pub(super) async fn enter_group(&mut self) -> Result<bool, SuperviseError> {
        let Some(concurrency) = &self.context.plan.concurrency else {
            return Ok(true);
        };
        // The only stored descriptor is the lock. It stays open in this process and needs no owner.
        let entered = self
            .run
            .load_events()?
            .iter()
            .any(|event| matches!(event.event, EventKind::GroupEntered { .. }));
        if entered && sd_notify::listen_fds().is_ok_and(|mut stored| stored.next().is_some()) {
            return Ok(true);
        }
        let name = &concurrency.group;
        let group = ConcurrencyGroup::open(&self.context.run.state_directory, name)?;
        let turn = match self.ended_before() {
            Some(reason) => Turn::Never(reason),
            None => {
                let cancels = concurrency.cancel_in_progress && !entered;
                match self
                    .ask_group(&group, move |group, run| group.arrive(run, cancels))
                    .await?
                {
                    Arrival::Entered(lock) => Turn::Come(lock),
                    Arrival::Waits { .. } | Arrival::Replaced { .. } if entered => {
                        // The run's jobs may be running, so end them.
                        self.ask_group(&group, ConcurrencyGroup::leave).await?;
                        let group = name.clone();
                        self.fail(Reason::GroupTaken { group }).await?;
                        return Ok(true);
                    }
                    Arrival::Replaced { by } => {
                        let reason = Reason::Replaced { by: Some(by) };
                        self.superseded = Some(reason.clone());
                        Turn::Never(reason)
                    }
                    Arrival::Waits { holder } => {
                        self.status
                            .update(status_line::waiting(name, holder.as_ref()), true);
                        self.emit(EventKind::GroupWaiting {
                            group: name.clone(),
                            held_by: holder,
                        });
                        self.flush();
                        self.wait_for_turn(group).await?
                    }
                }
            }
        };
        match turn {
            Turn::Come(lock) => {
                let stored = sd_notify::notify_with_fds(
                    &[NotifyState::FdStore, NotifyState::FdName("group")],
                    &[lock.file().as_fd()],
                );
                if let Err(error) = stored {
                    tracing::warn!(
                        "{}, the group is free during a restart of the supervisor",
                        describe(&error)
                    );
                }
                self.group = Some(lock);
                if !entered {
                    self.emit(EventKind::GroupEntered {
                        group: name.clone(),
                    });
                    self.flush();
                }
                Ok(true)
            }
            Turn::Never(reason) => {
                self.never_begin(&reason);
                Ok(false)
            }
        }
    }

    /// Starts the run's timeout. It counts from the time when the run was made, or when its turn
    /// came.
    pub(super) fn start_clock(&mut self) -> Result<(), StoreError> {
        let Setting::Value(seconds) = self.context.plan.timeout else {
            return Ok(());
        };
        let events = if self.context.plan.concurrency.is_some() {
            self.run.load_events()?
        } else {
            Vec::new()
        };
        let entered = events
            .iter()
            .find(|event| matches!(event.event, EventKind::GroupEntered { .. }))
            .map(|event| event.at);
        let passed = Timestamp::now()
            .duration_since(entered.unwrap_or(self.context.run.created_at))
            // The clock may have been set back.
            .max(jiff::SignedDuration::ZERO)
            .unsigned_abs();
        self.deadline = Some(Instant::now() + seconds.duration().saturating_sub(passed));
        Ok(())
    }

    async fn wait_for_turn(&mut self, group: ConcurrencyGroup) -> Result<Turn, SuperviseError> {
        let (sender, mut come) = tokio::sync::oneshot::channel();
        let run = self.run.id().clone();
        // The wait blocks and cannot be interrupted, so it has a thread of its own that ends with
        // the process. A turn that comes after the wait was given up is dropped.
        let wait = move || drop(sender.send((group.wait(&run), group)));
        std::thread::Builder::new()
            .name("group".to_owned())
            .spawn(wait)
            .map_err(SuperviseError::Thread)?;
        loop {
            let by = tokio::select! {
                turn = &mut come => match turn {
                    Ok((Ok(Some(lock)), _)) => return Ok(Turn::Come(lock)),
                    Ok((Ok(None), _)) => self.ended_before().or(Some(Reason::Replaced { by: None })),
                    Ok((Err(error), _)) => return Err(error.into()),
                    Err(_) => return Err(SuperviseError::Thread(std::io::Error::other("the thread that waits panicked"))),
                },
                change = self.watch.next() => match change {
                    Change::Control | Change::Everything => self.ended_before(),
                    Change::Job(_) => None,
                },
                _ = self.terminate.recv() => Some(self.cancelled_before("SIGTERM")),
                _ = self.interrupt.recv() => Some(self.cancelled_before("SIGINT")),
            };
            if let Some(reason) = by {
                let group =
                    ConcurrencyGroup::open(&self.context.run.state_directory, self.group_name())?;
                self.ask_group(&group, ConcurrencyGroup::leave).await?;
                return Ok(Turn::Never(reason));
            }
        }
    }

    /// Asks the group on another thread: other processes may hold its lock, and feeding the
    /// watchdog must not wait for them.
    async fn ask_group<T: Send + 'static>(
        &self,
        group: &ConcurrencyGroup,
        question: impl FnOnce(&ConcurrencyGroup, &RunId) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SuperviseError> {
        let (group, run) = (group.clone(), self.run.id().clone());
        let answer = tokio::task::spawn_blocking(move || question(&group, &run)).await;
        let panicked = |error| SuperviseError::Thread(std::io::Error::other(error));
        Ok(answer.map_err(panicked)??)
    }

    fn group_name(&self) -> &str {
        self.context
            .plan
            .concurrency
            .as_ref()
            .map_or("", |concurrency| &concurrency.group)
    }

    /// Returns why the run must not begin any more, if there is a reason.
    fn ended_before(&mut self) -> Option<Reason> {
        if let Some(reason) = self.run.superseded() {
            self.superseded = Some(reason.clone());
            return Some(reason);
        }
        let by = self
            .run
            .cancel_requested(true)
            .or_else(|| self.run.cancel_requested(false))?;
        Some(self.cancelled_before(&by))
    }

    fn cancelled_before(&mut self, by: &str) -> Reason {
        self.emit(EventKind::CancelRequested {
            by: by.to_owned(),
            kill: false,
        });
        Reason::RunCancelled
    }

    /// Records every job as cancelled, because no part of the run was started.
    fn never_begin(&mut self, reason: &Reason) {
        // No job is left to cancel.
        self.cancel = Cancel::Killed;
        let waiting: Vec<JobIx> = self
            .context
            .graph
            .jobs()
            .filter(|ix| self.jobs.is_waiting(*ix))
            .collect();
        for ix in waiting {
            let otherwise = (Conclusion::Cancelled, reason.clone());
            self.give_up(ix, Gate::Run, otherwise);
        }
    }
}
