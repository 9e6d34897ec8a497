//! How a service ended, in systemd's words (systemd.exec(5), "Environment Variables Set or
//! Propagated by the Service Manager").

use jiff::Timestamp;
use nix::{
    libc::{CLD_DUMPED, CLD_EXITED, CLD_KILLED},
    sys::signal::Signal,
};

/// The exit status of a runner that could not record its job's result (sysexits.h).
const EX_IOERR: i32 = 74;

/// How a service's last run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEnd {
    /// Its `Result`: `success`, `exit-code`, `signal`, `core-dump`, `watchdog`, `timeout`,
    /// `oom-kill`, …
    result: String,
    /// How its main process ended, in words. Empty if unknown.
    main: String,
    /// When its main process began.
    began: Option<Timestamp>,
    /// Whether its main process could not record its job's result.
    is_unwritten: bool,
    /// When its main process ended.
    ended: Option<Timestamp>,
}

impl ServiceEnd {
    /// Takes a service's `Result`, `ExecMainCode`, `ExecMainStatus`, `ExecMainStartTimestamp` and
    /// `ExecMainExitTimestamp`, which are in microseconds.
    pub fn new(result: &str, code: i32, status: i32, started: u64, ended: u64) -> Self {
        let is_unwritten = code == CLD_EXITED && status == EX_IOERR;
        let time = |micros: u64| {
            let micros = i64::try_from(micros).ok().filter(|micros| *micros > 0)?;
            Timestamp::from_microsecond(micros).ok()
        };
        let signal = || {
            Signal::try_from(status)
                .map_or_else(|_| status.to_string(), |signal| signal.to_string())
        };
        let main = match code {
            // EXIT_CREDENTIALS: the log names the credential.
            CLD_EXITED if status == 243 => "its credentials could not be loaded".to_owned(),
            // The runner could not write to the run's directory. The log has the cause.
            CLD_EXITED if status == EX_IOERR => {
                "its runner could not record the result; the log has the cause, such as a full disk"
                    .to_owned()
            }
            CLD_EXITED if status >= 200 => {
                format!("systemd could not start its runner (exit status {status})")
            }
            // The exit status of a service that systemd stopped says nothing.
            CLD_EXITED if result == "exit-code" => format!("exit status {status}"),
            CLD_KILLED => format!("killed by {}", signal()),
            CLD_DUMPED => format!("killed by {}, core dumped", signal()),
            _ => String::new(),
        };
        Self {
            result: result.to_owned(),
            main,
            began: time(started),
            is_unwritten,
            ended: time(ended),
        }
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
        self.began.filter(|_| self.is_unwritten)
    }

    /// Returns whether the kernel, systemd or a signal ended the service, and not its own exit. The
    /// service's own result is then incomplete.
    pub fn is_from_outside(&self) -> bool {
        !matches!(self.result.as_str(), "success" | "exit-code")
    }

    /// Returns the end in words. `own` is the service's own description of its end, if it left one.
    /// It tells more than the exit status.
    pub fn words(&self, own: Option<&str>) -> String {
        match own {
            Some(own) if !own.is_empty() => format!("{}: {own}", self.result),
            _ if self.main.is_empty() => self.result.clone(),
            _ => format!("{}: {}", self.result, self.main),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described_in_systemds_words() {
        let words = |result, code, status| ServiceEnd::new(result, code, status, 1, 2).words(None);
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
            oom.words(Some("step test: killed by SIGKILL")),
            "oom-kill: step test: killed by SIGKILL"
        );
    }

    #[test]
    fn only_an_exit_comes_from_the_service_itself() {
        let outside = |result| ServiceEnd::new(result, 0, 0, 0, 0).is_from_outside();
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
