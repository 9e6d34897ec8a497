//! The places of a job among the jobs that run at once: in its matrix, in its run, and among those
//! of all runs. `slots` has the locks behind them.

use std::io;

use super::{
    job::Job,
    slots::{self, Slots},
};
use crate::{event::EventKind, paths::SlotPaths, status::Gate};

impl Job<'_> {
    /// Waits for a slot of the job's matrix and one of the run, if the manager does not count
    /// running jobs itself, and for one of those that all runs share. Returns the slots and whether
    /// the job had to wait, or `Err(None)` if it was stopped.
    pub(super) fn take_slots(&mut self) -> Result<(Vec<slots::Slot>, bool), Option<io::Error>> {
        let Some(paths) = self.slots.as_ref().map(Slots::paths) else {
            return Ok((Vec::new(), false));
        };
        let mut waited = false;
        loop {
            let held = self.take_slots_in(&paths, &mut waited);
            // At a cancellation, all jobs are asked to end, also those that clean up. Jobs that
            // clean up wait on: they will end soon after they have begun.
            let waits_on = matches!(held, Err(None))
                && (self.port.cancellation.of_run().is_some()
                    || self.port.cancellation.of_matrix().is_some())
                && matches!(self.gate(), Gate::Run | Gate::Ask(_));
            if !waits_on {
                return Ok((held?, waited));
            }
            self.processes.signals.forget_cancellation();
            // The supervisor waits for an answer.
            self.tell_that_it_waits();
        }
    }

    fn tell_that_it_waits(&mut self) {
        self.emit(EventKind::JobWaiting {
            job: self.spec.job.clone(),
        });
        self.tell();
    }

    fn take_slots_in(
        &mut self,
        paths: &SlotPaths,
        waited: &mut bool,
    ) -> Result<Vec<slots::Slot>, Option<io::Error>> {
        let of_run = self.spec.slots.map(|count| (paths.run(), count));
        // Other runs may hold these for longer than there is time to clean up.
        let of_all = self
            .spec
            .shared_slots
            .filter(|_| self.port.cancellation.of_run().is_none());
        let of_all = of_all.map(|count| (paths.shared(), count));
        let of_matrix = self
            .spec
            .matrix
            .as_ref()
            .and_then(|matrix| Some((paths.matrix(&matrix.group), matrix.slots?)));
        // Take the slot of the matrix first: a job that waits for it then blocks no other job of
        // the run. A job that waits for a slot of all runs keeps a slot of its run. That delays
        // none of the run's jobs, since each of them needs a slot of all runs, too. All jobs take
        // them in this order, so there is no deadlock.
        let slots = of_matrix.into_iter().chain(of_run);
        // Each event wakes up the supervisor, so a run's own jobs do not tell that they wait for
        // each other. The time of a job whose runner was killed goes on, unless it says that it
        // waits again.
        let has_past = self.past.is_some();
        let slots = slots.map(|slots| (slots, has_past));
        let slots = slots.chain(of_all.map(|slots| (slots, true)));
        let mut event = Some(EventKind::JobWaiting {
            job: self.spec.job.clone(),
        });
        let mut held = Vec::new();
        for ((slots, count), tells) in slots {
            let (signals, events) = (&mut self.processes.signals, &mut self.events);
            let waits = || {
                *waited = true;
                if let Some(event) = event.take_if(|_| tells) {
                    events.note(event);
                    // The next event tells of an error.
                    let _ = events.tell();
                }
            };
            let slot = slots::acquire(&slots, count, signals, waits);
            held.push(slot.map_err(Some)?.ok_or(None)?);
        }
        Ok(held)
    }
}
