//! Waits for the inotify instances that a manager needs. The kernel gives root 128 by default, and
//! systemd without them ends at once.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::inotify::{InitFlags, Inotify},
};

use super::error::{At, StageError};

/// The instances that a run holds: systemd has four, D-Bus one and the supervisor one.
const NEEDED: usize = 6;
/// The wait for other runs to give theirs back. Short enough that a caller does not take it for
/// a hang.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Takes the instances that a manager needs, so that no other run takes them while PID 1 starts;
/// they are free again when the result is dropped. Where they are short, it says so once and waits
/// for a while.
pub(super) fn reserve(say: impl FnMut(&str)) -> Result<Vec<Inotify>, StageError> {
    let make = || Inotify::init(InitFlags::IN_CLOEXEC).map_err(io::Error::from);
    reserve_with(make, PATIENCE, PAUSE, say).at("make inotify instances")
}

fn reserve_with<T>(
    mut make: impl FnMut() -> io::Result<T>,
    patience: Duration,
    pause: Duration,
    mut say: impl FnMut(&str),
) -> io::Result<Vec<T>> {
    let started = Instant::now();
    let mut told = false;
    loop {
        // Those of an attempt that fails go back at once: two that hold some and wait for more
        // would wait for each other.
        let error = match (0..NEEDED).map(|_| make()).collect() {
            Ok(instances) => return Ok(instances),
            Err(error) => error,
        };
        let short = io::Error::raw_os_error(&error) == Some(Errno::EMFILE as i32);
        if !short || started.elapsed() >= patience {
            return Err(error);
        }
        if !told {
            told = true;
            say(&format!(
                "waiting up to {} s for {NEEDED} inotify instances; their limit is \
                 `sysctl fs.inotify.max_user_instances`",
                patience.as_secs()
            ));
        }
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{cell::Cell, rc::Rc};

    /// An instance of a kernel that has only so many.
    struct Instance(Rc<Cell<usize>>);

    impl Drop for Instance {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    fn take(free: &Rc<Cell<usize>>) -> io::Result<Instance> {
        let left = free.get().checked_sub(1).ok_or(Errno::EMFILE)?;
        free.set(left);
        Ok(Instance(Rc::clone(free)))
    }

    #[test]
    fn waits_visibly_until_instances_are_free() {
        let free = Rc::new(Cell::new(NEEDED - 1));
        let mut asked = 0;
        let mut said = Vec::new();
        let say = |text: &str| said.push(text.to_owned());
        let make = || {
            asked += 1;
            if asked == 3 * NEEDED {
                // Another run has ended.
                free.set(free.get() + 1);
            }
            take(&free)
        };
        let reserved = reserve_with(make, Duration::from_secs(60), Duration::ZERO, say);
        assert_eq!(reserved.unwrap().len(), NEEDED);
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(free.get(), NEEDED, "dropped, they are free again");
    }

    #[test]
    fn holds_none_when_the_wait_is_over() {
        let free = Rc::new(Cell::new(NEEDED - 1));
        let error = reserve_with(|| take(&free), Duration::ZERO, Duration::ZERO, |_| ());
        let error = error.err().unwrap();
        assert_eq!(error.raw_os_error(), Some(Errno::EMFILE as i32));
        assert_eq!(free.get(), NEEDED - 1);
    }

    #[test]
    fn does_not_wait_for_what_waiting_does_not_help() {
        let mut asked = 0;
        let refuse = || {
            asked += 1;
            Err::<(), _>(Errno::ENOMEM.into())
        };
        let patience = Duration::from_secs(60);
        let say = |said: &str| panic!("{said}");
        let error = reserve_with(refuse, patience, Duration::ZERO, say).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENOMEM as i32));
        assert_eq!(asked, 1);
    }
}
