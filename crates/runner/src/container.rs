//! The first process of a job in a container: it takes over its view of the host, and becomes the
//! job's user. And the first process of a container that jobs share.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    sys::{
        prctl::set_dumpable,
        signal::{SigHandler, SigSet, Signal, signal},
    },
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{Mode, OFlags, openat},
    stdio::dup2_stdin,
    thread::{CapabilitySet, capability_is_in_bounding_set},
};

use super::port;
use crate::spec::{CONTAINER_USER, HANDED_GROUP, HANDED_MASKS, HANDED_PROC, HANDED_SLOTS};

/// A container, as its first process knows it.
#[derive(Debug)]
pub(super) struct Container {
    /// The host's /proc. No step inherits it.
    proc: OwnedFd,
    /// The control group of the job's unit, where it counts memory. No step inherits it.
    group: Option<OwnedFd>,
}

impl Container {
    /// Takes over the descriptors that the container was started with. Standard input is then the
    /// same as for any runner: the locks of running jobs or the masks of a service, if there are
    /// any. From here on, this process and all others of the job have the job's user.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn enter() -> io::Result<Self> {
        let handed = io::stdin().as_fd().try_clone_to_owned()?;
        let open = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(&handed, name, flags, Mode::empty()).map_err(io::Error::from)
        };
        let proc = open(HANDED_PROC)?;
        let group = open(HANDED_GROUP).ok();
        // A service has no locks, and a job has no masks.
        match open(HANDED_SLOTS).or_else(|_| open(HANDED_MASKS)) {
            Ok(directory) => dup2_stdin(directory)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                dup2_stdin(File::open("/dev/null")?)?;
            }
            Err(error) => return Err(error),
        }
        become_user(user_of(env::var(CONTAINER_USER).ok().as_deref())?)?;
        Ok(Self { proc, group })
    }

    /// Returns the control group of the job's unit, where it counts memory. The one in the
    /// container counts none.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn group(&self) -> io::Result<Option<OwnedFd>> {
        self.group.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Returns this process's id and its user's id outside of the container, by which journald
    /// knows them.
    pub(super) fn outside(&self) -> io::Result<(u32, u32)> {
        let map = fs::read_to_string("/proc/self/uid_map")?;
        let user = id_outside(&map, geteuid().as_raw()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((port::own_pid_in(&self.proc)?, user))
    }
}

/// Stands in a container that jobs share, as its first process, until a signal asks it to end.
/// Jobs join the container while it does. Returns the exit status.
pub fn stand() -> u8 {
    match wait_to_end() {
        Ok(()) => 0,
        Err(error) => {
            // Where nobody can be told, the exit status says it.
            let _ = writeln!(io::stderr(), "nixactions-runner: {error}");
            1
        }
    }
}

#[expect(
    unsafe_code,
    reason = "signal(2) may set a function; this call sets none"
)]
fn wait_to_end() -> io::Result<()> {
    set_dumpable(false)?;
    // It is the parent of the processes whose own has ended. The kernel then forgets them by itself
    // (wait(2)).
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }?;
    let asked: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    asked.thread_block()?;
    // From here on, a signal ends it.
    let mut output = io::stdout();
    output.write_all(b"\n").and_then(|()| output.flush())?;
    asked.wait()?;
    Ok(())
}

/// Returns whether the processes of this container may trace one another.
pub(super) fn may_trace() -> bool {
    capability_is_in_bounding_set(CapabilitySet::SYS_PTRACE).unwrap_or(false)
}

/// Returns the user and the group that a variable names by their numbers. Without it, the runner
/// would stay root.
fn user_of(variable: Option<&str>) -> io::Result<(Uid, Gid)> {
    let ids = variable.and_then(|text| {
        let (user, group) = text.split_once(':')?;
        Some((user.parse().ok()?, group.parse().ok()?))
    });
    let (user, group) = ids.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`${CONTAINER_USER}` does not name the job's user"),
        )
    })?;
    Ok((Uid::from_raw(user), Gid::from_raw(group)))
}

/// Becomes a user, with no other group than this one.
fn become_user((user, group): (Uid, Gid)) -> io::Result<()> {
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    // A change of the user makes a process dumpable where the host says so (proc_sys_fs(5)).
    Ok(set_dumpable(false)?)
}

/// Returns the id outside of a user namespace for one inside (user_namespaces(7)).
fn id_outside(map: &str, inside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        let (first, outside, count) = (next()?, next()?, next()?);
        let offset = inside.checked_sub(first)?;
        (offset < count).then(|| outside + offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_without_a_user_does_not_stay_root() {
        let ids = (Uid::from_raw(999), Gid::from_raw(998));
        assert_eq!(user_of(Some("999:998")).unwrap(), ids);
        assert!(user_of(None).is_err());
        for bad in ["", "999", "999:", ":998", "a:b", "-1:0"] {
            assert!(user_of(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_of_a_container_are_others_outside() {
        let map = "         0 1610612736      65536\n";
        assert_eq!(id_outside(map, 0), Some(1_610_612_736));
        assert_eq!(id_outside(map, 999), Some(1_610_613_735));
        assert_eq!(id_outside(map, 65_536), None);
        assert_eq!(id_outside("0 0 4294967295\n", 61_200), Some(61_200));
        assert_eq!(id_outside("", 0), None);
    }
}
