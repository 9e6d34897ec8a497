//! What a job can do to processes: to its own, and to others.
#![cfg(target_arch = "x86_64")]

use nixactions_harness::{Manager, bash, on_managers, on_shared_managers};
use serde_json::json;

on_shared_managers!(a_job_may_trace_its_own);
on_managers!(a_job_that_signals_all_reaches_its_own_only on embedded_257, system_252, system_262, user_262);

const NONE: [&str; 0] = [];

fn a_job_may_trace_its_own(manager: &Manager) {
    // A child that is attached to, as gdb, strace and the leak check of AddressSanitizer do.
    let trace = "perl -e 'my $child = fork(); if (!$child) { sleep 5; exit } \
        syscall(101, 16, $child, 0, 0) == 0 or die \"attach: $!\"; waitpid($child, 0); print \"traced\\n\"; kill(9, $child)'";
    let plan = json!({ "version": 1, "name": "traces", "jobs": { "j": bash(trace) } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("j"), ["traced"], "{run}");
}

/// Nothing else of the user's is to end: the client, the supervisor, the manager.
fn a_job_that_signals_all_reaches_its_own_only(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "all", "maxParallel": 2, "jobs": {
        "evil": bash("sleep 1000 & kill -9 -1; sleep 0.5; exit 1"),
        "beside": bash("sleep 2; echo alive"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.lines("beside"), ["alive"], "{run}");
    assert_eq!(run.verdict("evil"), "failure/failure", "{run}");
    let next = json!({ "version": 1, "name": "next", "jobs": { "j": bash("echo on") } });
    assert_eq!(manager.run(&next, &NONE).exits(0).lines("j"), ["on"]);
}
