//! The process table, read from the host's /proc; see proc(5).

use std::fs;

/// Returns the PIDs of all processes.
pub(crate) fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc can be listed");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Returns a file of a process' /proc directory; empty when the process is gone.
pub(crate) fn field(pid: i32, name: &str) -> String {
    fs::read(format!("/proc/{pid}/{name}"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// Returns when a process was started, in clock ticks since the boot of the host.
pub(crate) fn started(pid: i32) -> u64 {
    // The command's name, in parentheses, may have blanks; of what follows it, this is field 20.
    let stat = field(pid, "stat");
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok())
        .unwrap_or_default()
}
