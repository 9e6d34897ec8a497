//! The filter of system calls (seccomp(2)) of a job that shares a user with other processes, and of
//! one that has joined a container.
//!
//! The kernel lets each process set the limits and the priority of all processes of its user
//! (prlimit(2), setpriority(2), ioprio_set(2)), and Landlock does not cover that. By a limit on
//! processor time, the kernel ends a process. The filter forbids limits of processes that are
//! named by their id, and priorities of a whole user. A process sets its own limits by the id 0,
//! as all programs do by setrlimit(2).
//!
//! A filter cannot tell the job's own processes from others. So it does not cover calls that
//! programs use on their own threads: the priority and the processors of a single process.
//!
//! systemd-nspawn denies a container the system calls that it does not need. Its filter does not
//! hold for a process that joins the container later. So a runner sets one with those of the calls
//! for which the kernel would not ask for a capability on the host: those for keys, bpf(2) and so
//! on, and without CAP_SYS_PTRACE also ptrace(2).
//!
//! The tables have the 32-bit system calls of each kernel as well. The instructions are those of
//! bpf(2)'s predecessor, as in the kernel's `Documentation/userspace-api/seccomp_filter.rst`.

use seccompiler::{Error, apply_filter, sock_filter};

/// The numbers of the calls on one architecture.
struct Calls {
    /// The architecture's token (`linux/audit.h`).
    token: u32,
    /// Further calls begin here that pass by the filter under the same token.
    end: Option<u32>,
    prlimit: u32,
    setpriority: u32,
    ioprio_set: u32,
    /// Those that systemd-nspawn denies: quotactl, quotactl_fd, add_key, request_key, keyctl,
    /// perf_event_open, fanotify_init, fanotify_mark, open_by_handle_at, bpf; on x86 also
    /// modify_ldt, vm86old and vm86.
    denied: &'static [u32],
    ptrace: u32,
}

/// The kinds of system calls that a filter refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// Limits of other processes, and priorities of a whole user.
    pub(super) limits: bool,
    /// Those that systemd-nspawn denies a container.
    pub(super) of_containers: bool,
    /// ptrace(2).
    pub(super) traces: bool,
}

#[cfg(target_arch = "x86_64")]
const CALLS: &[Calls] = &[
    Calls {
        token: 0xc000_003e,
        // The calls of x32 have the same token.
        end: Some(0x4000_0000),
        prlimit: 302,
        setpriority: 141,
        ioprio_set: 251,
        denied: &[179, 443, 248, 249, 250, 298, 300, 301, 304, 321, 154],
        ptrace: 101,
    },
    // i386.
    Calls {
        token: 0x4000_0003,
        end: None,
        prlimit: 340,
        setpriority: 97,
        ioprio_set: 289,
        denied: &[
            131, 443, 286, 287, 288, 336, 338, 339, 342, 357, 123, 113, 166,
        ],
        ptrace: 26,
    },
];

#[cfg(target_arch = "aarch64")]
const CALLS: &[Calls] = &[
    Calls {
        token: 0xc000_00b7,
        end: None,
        prlimit: 261,
        setpriority: 140,
        ioprio_set: 30,
        denied: &[60, 443, 217, 218, 219, 241, 262, 263, 265, 280],
        ptrace: 117,
    },
    // 32-bit Arm.
    Calls {
        token: 0x4000_0028,
        end: None,
        prlimit: 369,
        setpriority: 97,
        ioprio_set: 314,
        denied: &[131, 443, 309, 310, 311, 364, 367, 368, 371, 386],
        ptrace: 26,
    },
];

/// The numbers of other architectures are not known here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: &[Calls] = &[];

// `struct seccomp_data`: the offsets of the number, the architecture, and the lower half of the
// first argument, on machines that store it first.
const NUMBER: u32 = 0;
const TOKEN: u32 = 4;
const FIRST: u32 = 16;

// Instructions (`linux/filter.h`).
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `PRIO_USER` (setpriority(2)).
const PRIO_USER: u32 = 2;
/// `IOPRIO_WHO_USER` (ioprio_set(2)).
const IOPRIO_WHO_USER: u32 = 3;

/// Sets the filter for this process and its children, permanently.
pub(super) fn guard(refused: Refused) -> Result<(), Error> {
    if refused == Refused::default() {
        return Ok(());
    }
    let program = program(CALLS, refused);
    if program.is_empty() {
        return Ok(());
    }
    match apply_filter(&program) {
        // The kernel has no filters.
        Err(Error::Seccomp(error)) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        applied => applied,
    }
}

fn program(architectures: &[Calls], refused: Refused) -> Vec<sock_filter> {
    let mut program = Vec::new();
    for calls in architectures {
        let body = body(calls, refused);
        let length = u8::try_from(body.len()).expect("invariant: less than a hundred instructions");
        program.extend([load(TOKEN), jump(JUMP_EQUAL, calls.token, 0, length)]);
        program.extend(body);
    }
    // A kernel for these architectures has no others.
    program.extend((!program.is_empty()).then(|| end(ERRNO | ENOSYS)));
    program
}

/// Returns the instructions for calls of one architecture. Each way through them ends.
fn body(calls: &Calls, refused: Refused) -> Vec<sock_filter> {
    let mut body = vec![load(NUMBER)];
    if let Some(end_of_calls) = calls.end {
        body.extend([
            jump(JUMP_GREATER_EQUAL, end_of_calls, 0, 1),
            end(ERRNO | ENOSYS),
        ]);
    }
    if refused.limits {
        // Another process is any but 0; a user is one kind of two more.
        body.extend(unless_first(calls.prlimit, 0, ALLOW, ERRNO | EPERM));
        body.extend(unless_first(
            calls.setpriority,
            PRIO_USER,
            ERRNO | EPERM,
            ALLOW,
        ));
        body.extend(unless_first(
            calls.ioprio_set,
            IOPRIO_WHO_USER,
            ERRNO | EPERM,
            ALLOW,
        ));
    }
    let denied = calls.denied.iter().copied();
    let denied = denied.filter(|_| refused.of_containers);
    for number in denied.chain(refused.traces.then_some(calls.ptrace)) {
        body.extend([jump(JUMP_EQUAL, number, 0, 1), end(ERRNO | EPERM)]);
    }
    body.push(end(ALLOW));
    body
}

/// Returns the instructions that end a call of this number: by `equal` where its first argument is
/// this value, and otherwise by `other`.
fn unless_first(number: u32, value: u32, equal: u32, other: u32) -> [sock_filter; 5] {
    [
        jump(JUMP_EQUAL, number, 0, 4),
        load(FIRST),
        jump(JUMP_EQUAL, value, 0, 1),
        end(equal),
        end(other),
    ]
}

fn load(k: u32) -> sock_filter {
    instruction(LOAD, 0, 0, k)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(code, jt, jf, k)
}

fn end(k: u32) -> sock_filter {
    instruction(RETURN, 0, 0, k)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter program on a call, as the kernel would, and returns its verdict.
    fn says(program: &[sock_filter], token: u32, number: u32, first: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let one = &program[at];
            at += 1;
            let holds = match one.code {
                LOAD => {
                    value = match one.k {
                        TOKEN => token,
                        NUMBER => number,
                        FIRST => first,
                        other => panic!("offset {other}"),
                    };
                    continue;
                }
                RETURN => return one.k,
                JUMP_EQUAL => value == one.k,
                JUMP_GREATER_EQUAL => value >= one.k,
                other => panic!("code {other}"),
            };
            at += usize::from(if holds { one.jt } else { one.jf });
        }
    }

    #[test]
    fn only_limits_of_others_and_priorities_of_users_are_refused() {
        let refused = Refused {
            limits: true,
            ..Refused::default()
        };
        let program = program(CALLS, refused);
        for calls in CALLS {
            let says = |number, first| says(&program, calls.token, number, first);
            assert_eq!(says(calls.prlimit, 0), ALLOW);
            for pid in [1, 99, u32::MAX] {
                assert_eq!(says(calls.prlimit, pid), ERRNO | EPERM);
            }
            for kind in [0, 1, PRIO_USER] {
                let refused = kind == PRIO_USER;
                let said = if refused { ERRNO | EPERM } else { ALLOW };
                assert_eq!(says(calls.setpriority, kind), said);
            }
            for (kind, said) in [(1, ALLOW), (2, ALLOW), (3, ERRNO | EPERM)] {
                assert_eq!(says(calls.ioprio_set, kind), said);
            }
            for number in [0, 1, 60, 500].into_iter().chain([calls.ptrace]) {
                assert_eq!(says(number, 7), ALLOW, "{number}");
            }
            if let Some(end) = calls.end {
                assert_eq!(says(end | calls.prlimit, 0), ERRNO | ENOSYS);
            }
        }
        assert_eq!(says(&program, 1, CALLS[0].prlimit, 0), ERRNO | ENOSYS);
    }

    #[test]
    fn a_container_is_denied_what_systemd_nspawn_denies() {
        let says = |traces: bool, calls: &Calls, number| {
            let refused = Refused {
                of_containers: true,
                traces,
                limits: false,
            };
            says(&program(CALLS, refused), calls.token, number, 5)
        };
        for calls in CALLS {
            for number in calls.denied {
                assert_eq!(says(false, calls, *number), ERRNO | EPERM, "{number}");
            }
            assert_eq!(says(true, calls, calls.ptrace), ERRNO | EPERM);
            assert_eq!(says(false, calls, calls.ptrace), ALLOW);
            assert_eq!(says(true, calls, calls.prlimit), ALLOW);
            assert_eq!(says(true, calls, 500), ALLOW);
        }
        // The tables' own numbers are those of the C library.
        #[cfg(target_arch = "x86_64")]
        {
            use nix::libc;
            let names = [
                libc::SYS_quotactl,
                libc::SYS_quotactl_fd,
                libc::SYS_add_key,
                libc::SYS_request_key,
                libc::SYS_keyctl,
                libc::SYS_perf_event_open,
                libc::SYS_fanotify_init,
                libc::SYS_fanotify_mark,
                libc::SYS_open_by_handle_at,
                libc::SYS_bpf,
                libc::SYS_modify_ldt,
            ];
            assert_eq!(names.map(|number| number as u32), CALLS[0].denied);
            assert_eq!(libc::SYS_ptrace as u32, CALLS[0].ptrace);
        }
    }

    #[test]
    fn the_kernel_takes_the_filter() {
        // In a thread: the filter stays with it.
        let limit = std::thread::spawn(|| {
            guard(Refused {
                limits: true,
                of_containers: true,
                traces: true,
            })
            .unwrap();
            let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            let other = rustix::process::getppid().unwrap();
            let of_other =
                rustix::process::prlimit(Some(other), rustix::process::Resource::Nofile, own);
            (own.current.is_some(), of_other)
        });
        let (is_own, of_other) = limit.join().unwrap();
        assert!(is_own);
        assert_eq!(of_other.err(), Some(rustix::io::Errno::PERM));
    }
}
