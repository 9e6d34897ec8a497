//! How a service ended, in systemd's words (systemd.exec(5), "Environment Variables Set or
//! Propagated by the Service Manager").

use std::time::Duration;

use jiff::Timestamp;
use nix::{
    libc::{CLD_DUMPED, CLD_EXITED, CLD_KILLED},
    sys::signal::Signal,
};

use crate::{
    reason::{MainEnd, ServiceResult},
    record::Usage,
    status::ServiceEvidence,
};

/// The exit status of a runner that could not record its job's result (sysexits.h).
const EX_IOERR: i32 = 74;
/// The exit status for credentials that systemd could not load (`EXIT_CREDENTIALS`). The log names
/// the credential.
const EXIT_CREDENTIALS: i32 = 243;
/// The lowest exit status for a process that systemd could not start.
const EXIT_SYSTEMD: i32 = 200;
/// The exit status for a signal is higher by this. In a PID namespace of its own, no signal of its
/// own ends the process above a runner, so it exits with this status.
const EXIT_SIGNAL: i32 = 128;
/// The exit status of a runner whose job was cancelled.
const EXIT_CANCELLED: i32 = 130;

/// How a service's last run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceEnd {
    evidence: ServiceEvidence,
    /// When its main process began.
    began: Option<Timestamp>,
    /// When its main process ended.
    ended: Option<Timestamp>,
    /// The resources that it has consumed, as far as systemd knows.
    usage: Usage,
}

impl ServiceEnd {
    /// Takes a service's `Result`, `ExecMainCode`, `ExecMainStatus`, `ExecMainStartTimestamp` and
    /// `ExecMainExitTimestamp`, which are in microseconds.
    pub fn new(result: &str, code: i32, status: i32, started: u64, ended: u64) -> Self {
        let mut result = ServiceResult::parse(result);
        let (mut code, mut status) = (code, status);
        if code == CLD_EXITED
            && result == ServiceResult::ExitCode
            && status != EXIT_CANCELLED
            && Signal::try_from(status - EXIT_SIGNAL).is_ok()
        {
            result = ServiceResult::Signal;
            (code, status) = (CLD_KILLED, status - EXIT_SIGNAL);
        }
        let time = |micros: u64| {
            let micros = i64::try_from(micros).ok().filter(|micros| *micros > 0)?;
            Timestamp::from_microsecond(micros).ok()
        };
        let signal = || {
            Signal::try_from(status)
                .map_or_else(|_| status.to_string(), |signal| signal.to_string())
        };
        let main = match code {
            CLD_EXITED if status == EXIT_CREDENTIALS => MainEnd::NoCredentials,
            CLD_EXITED if status == EX_IOERR => MainEnd::NotRecorded,
            CLD_EXITED if status >= EXIT_SYSTEMD => MainEnd::NotStarted { status },
            // The exit status of a service that systemd stopped says nothing.
            CLD_EXITED if result == ServiceResult::ExitCode => MainEnd::Exit { status },
            CLD_KILLED => MainEnd::Signal {
                signal: signal(),
                core: false,
            },
            CLD_DUMPED => MainEnd::Signal {
                signal: signal(),
                core: true,
            },
            _ => MainEnd::Unknown,
        };
        Self {
            evidence: ServiceEvidence { result, main },
            began: time(started),
            ended: time(ended),
            usage: Usage::default(),
        }
    }

    /// Adds a service's `CPUUsageNSec` and `MemoryPeak`. systemd has the largest number for what it
    /// does not know.
    pub fn with_usage(mut self, cpu: Option<u64>, memory: Option<u64>) -> Self {
        let is_known = |number: &u64| *number != u64::MAX;
        self.usage = Usage {
            cpu_seconds: cpu
                .filter(is_known)
                .map(|nanos| Duration::from_nanos(nanos).as_secs_f64()),
            memory_peak_bytes: memory.filter(is_known),
        };
        self
    }

    /// Adds the resources that it has consumed to the usage of a job whose runner could not tell.
    pub fn complete(&self, usage: &mut Usage) {
        usage.cpu_seconds = usage.cpu_seconds.or(self.usage.cpu_seconds);
        usage.memory_peak_bytes = usage.memory_peak_bytes.or(self.usage.memory_peak_bytes);
    }

    /// Returns the job's outcome as the unit's end shows it.
    pub fn evidence(&self) -> &ServiceEvidence {
        &self.evidence
    }

    /// Returns when its main process began, where it had one.
    pub fn began(&self) -> Option<Timestamp> {
        self.began
    }

    /// Returns when its main process ended, where it had one.
    pub fn ended(&self) -> Option<Timestamp> {
        self.ended
    }

    /// Returns the start of a runner that could not record its job's result; `None` for any other
    /// end.
    pub fn unwritten_since(&self) -> Option<Timestamp> {
        self.began
            .filter(|_| self.evidence.main == MainEnd::NotRecorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn ends_are_described_in_systemds_words() {
        let reason = |end: ServiceEnd, own: Option<&str>| {
            let ServiceEvidence { result, main } = end.evidence;
            let own = own.map(str::to_owned);
            Reason::Service { result, main, own }.to_string()
        };
        let words =
            |result, code, status| reason(ServiceEnd::new(result, code, status, 1, 2), None);
        assert_eq!(
            words("oom-kill", CLD_KILLED, 9),
            "oom-kill: killed by SIGKILL"
        );
        assert_eq!(
            words("core-dump", CLD_DUMPED, 11),
            "core-dump: killed by SIGSEGV, core dumped"
        );
        assert_eq!(
            words("watchdog", CLD_DUMPED, 6),
            "watchdog: killed by SIGABRT, core dumped"
        );
        assert_eq!(words("signal", CLD_KILLED, 9), "signal: killed by SIGKILL");
        assert_eq!(
            words("exit-code", CLD_EXITED, 137),
            "signal: killed by SIGKILL"
        );
        assert_eq!(
            words("exit-code", CLD_EXITED, 130),
            "exit-code: exit status 130"
        );
        assert_eq!(
            words("exit-code", CLD_EXITED, 226),
            "exit-code: systemd could not start its runner (exit status 226)"
        );
        assert_eq!(
            words("exit-code", CLD_EXITED, 243),
            "exit-code: its credentials could not be loaded"
        );
        assert_eq!(words("timeout", 0, 0), "timeout");
        assert_eq!(words("timeout", CLD_EXITED, 1), "timeout");
        let oom = ServiceEnd::new("oom-kill", CLD_EXITED, 1, 1, 2);
        assert_eq!(
            reason(oom, Some("step test: killed by SIGKILL")),
            "oom-kill: step test: killed by SIGKILL"
        );
    }

    #[test]
    fn systemd_knows_what_a_killed_runner_could_not_tell() {
        let end = ServiceEnd::new("oom-kill", CLD_KILLED, 9, 1, 2);
        let mut usage = Usage::default();
        end.clone()
            .with_usage(Some(u64::MAX), None)
            .complete(&mut usage);
        assert_eq!(usage, Usage::default());
        let end = end.with_usage(Some(1_500_000_000), Some(4096));
        usage.memory_peak_bytes = Some(1);
        end.complete(&mut usage);
        assert_eq!(
            (usage.cpu_seconds, usage.memory_peak_bytes),
            (Some(1.5), Some(1))
        );
    }

    #[test]
    fn only_an_exit_comes_from_the_service_itself() {
        let outside = |result| {
            ServiceEnd::new(result, 0, 0, 0, 0)
                .evidence
                .is_from_outside()
        };
        assert!(
            [
                "oom-kill",
                "watchdog",
                "signal",
                "core-dump",
                "timeout",
                "resources",
                "start-limit-hit",
                "new"
            ]
            .into_iter()
            .all(outside)
        );
        assert!(!["success", "exit-code"].into_iter().any(outside));
    }
}
