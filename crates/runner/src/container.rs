//! The first process of a container: it takes over what it is given of the host, and becomes the
//! job's user.

use std::{
    env,
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    sys::prctl::set_dumpable,
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{Mode, OFlags, openat},
    stdio::dup2_stdin,
};

use super::port;
use crate::spec::{CONTAINER_USER, GIVEN_PROC, GIVEN_SLOTS};

/// A container, as its first process knows it.
#[derive(Debug)]
pub(super) struct Container {
    /// The host's /proc. No step inherits it.
    proc: OwnedFd,
}

impl Container {
    /// Takes over what the container was given. Standard input is then what it is for any runner:
    /// the locks of running jobs, if there are any. This process and all others of the job are the
    /// job's user from here on.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn enter() -> io::Result<Self> {
        let given = io::stdin().as_fd().try_clone_to_owned()?;
        let open = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(&given, name, flags, Mode::empty()).map_err(io::Error::from)
        };
        let proc = open(GIVEN_PROC)?;
        match open(GIVEN_SLOTS) {
            Ok(slots) => dup2_stdin(slots)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                dup2_stdin(File::open("/dev/null")?)?;
            }
            Err(error) => return Err(error),
        }
        if let Ok(user) = env::var(CONTAINER_USER) {
            become_user(&user)?;
        }
        Ok(Self { proc })
    }

    /// Returns this process's id and its user's id outside of the container, by which journald
    /// knows them.
    pub(super) fn outside(&self) -> io::Result<(u32, u32)> {
        let map = fs::read_to_string("/proc/self/uid_map")?;
        let user = id_outside(&map, geteuid().as_raw()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((port::own_pid_in(&self.proc)?, user))
    }
}

/// Becomes a user, given by its number and that of its group.
fn become_user(text: &str) -> io::Result<()> {
    let ids = text.split_once(':').and_then(|(user, group)| {
        let ids = (user.parse().ok()?, group.parse().ok()?);
        Some((Uid::from_raw(ids.0), Gid::from_raw(ids.1)))
    });
    let (user, group) = ids.ok_or(io::ErrorKind::InvalidInput)?;
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
    use super::id_outside;

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
