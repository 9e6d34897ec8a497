//! The effects of a step on processes outside its job: limits, priorities, processors.

use nixactions_harness::{CommandExt as _, Kind, Manager, Suite, bash, on_managers, with};
use serde_json::json;

on_managers!(a_step_changes_no_process_of_another_job
    on embedded_262, system_252, system_262, user_252, user_257, user_262);
on_managers!(a_step_sets_no_limit_of_the_process_above_its_runner
    on embedded_262, system_252, system_262, user_252, user_257, user_262);
on_managers!(a_later_job_of_the_same_user_has_none_of_its_keys
    on embedded_262, system_252, system_262, user_252, user_262);

const NONE: [&str; 0] = [];

/// Prints what others could change of this shell.
const STATE: &str = "state() {
        for file in limits oom_score_adj; do grep . /proc/$$/$file; done | tr -s ' ' | grep -v 'Max pending'
        grep Cpus_allowed_list /proc/$$/status
        cut -d' ' -f18,19,40,41 /proc/$$/stat; ionice -p $$
    }; ";

/// Tries to change each process that is not of this job (x86-64's and aarch64's numbers), and says
/// what it may set for a whole user.
const REACH: &str = r#"perl -e '
    my %number = `uname -m` =~ /x86_64/
        ? (prlimit => 302, setpriority => 141, ioprio => 251, affinity => 203, scheduler => 144)
        : (prlimit => 261, setpriority => 140, ioprio => 30, affinity => 122, scheduler => 119);
    sub may { my $name = shift; syscall($number{$name}, map { $_ } @_) != -1 }
    open(my $f, "<", "/sys/fs/cgroup" . (split(/:/, `cat /proc/self/cgroup`, 3))[2] =~ s/\n//r . "/cgroup.procs");
    my %own = map { chomp; $_ => 1 } defined fileno($f) ? <$f> : ();
    print "FELL: the priority of a user is set\n" if may("setpriority", 2, 0, 0);
    print "FELL: the I/O priority of a user is set\n" if may("ioprio", 3, $<, 2 << 13 | 4);
    my $one = pack("Q", 1);
    for my $pid (grep { !$own{$_} && $_ != $$ } 1 .. 30000) {
        may("prlimit", $pid, 12, pack("QQ", 4096, 4096), 0);
        may("prlimit", $pid, 4, 0, my $b = "x" x 16) and print "FELL: a limit is read\n";
        may("setpriority", 0, $pid, 3); may("setpriority", 1, $pid, 4);
        may("affinity", $pid, 8, $one);
        may("scheduler", $pid, 3, pack("l", 0));
        may("ioprio", 1, $pid, 2 << 13 | 6); may("ioprio", 2, $pid, 2 << 13 | 6);
        if (open(my $score, ">", "/proc/$pid/oom_score_adj")) { print $score "900" }
    }'"#;

fn a_step_changes_no_process_of_another_job(manager: &Manager) {
    let wait = "touch started; until [ -e stop ]; do sleep 0.05; done";
    let beside = format!("{STATE} state > a; {wait}; state > b; diff a b && echo same");
    for level in ["strict", "relaxed"] {
        let plan = json!({ "version": 1, "name": "reach", "maxParallel": 2,
            "executors": { "e": { "type": "systemd", "sandbox": level } },
            "jobs": {
                "beside": with(bash(&beside), json!({ "executor": "e", "continueOnError": true })),
                "evil": with(bash(&format!("until [ -e go ]; do sleep 0.05; done; {REACH}")), json!({ "executor": "e" })),
            } });
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("beside", "started");
        run.release("evil", "go");
        run.wait_for_event("jobFinished", Some("evil"));
        run.release("beside", "stop");
        let run = run.end().exits(0);
        let lines = run.lines("beside");
        if manager.kind() != Kind::User {
            // Other processes have other users.
            assert_eq!(lines, ["same"], "{level}: {run}");
        } else {
            let limits: Vec<_> = lines.iter().filter(|line| line.contains("Max ")).collect();
            assert!(limits.is_empty(), "{level}: {run}");
            assert_eq!(run.lines("evil"), NONE, "{level}: {run}");
        }
    }
}

fn a_step_sets_no_limit_of_the_process_above_its_runner(manager: &Manager) {
    let script = "above=$(ps -o ppid= $PPID || echo $((PPID - 1)))
        for pid in $above $((PPID - 1)) $PPID; do
            prlimit --pid $pid --nofile=99:99 2>/dev/null && echo FELL
            grep -sE 'open files +99 ' /proc/$pid/limits || true
        done
        prlimit --nofile=88:88 true && ulimit -n 77 && ulimit -n";
    let plan = json!({ "version": 1, "name": "above", "jobs": {
        "tried": with(bash(script), json!({ "retry": { "maxAttempts": 2, "minTime": 0.1 } })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("tried"), ["77"], "{run}");
}

/// Keys of a user (user-keyring(7), persistent-keyring(7)) outlive its processes. `strict` denies
/// the system calls.
fn a_later_job_of_the_same_user_has_none_of_its_keys(manager: &Manager) {
    // Perl's `syscall` takes numbers and texts: add_key, keyctl, request_key.
    let keys = r#"perl -e '
        my ($add, $control, $request) = `uname -m` =~ /x86_64/ ? (248, 250, 249) : (217, 219, 218);
        my ($type, $name, $value) = ("user", "nixactions:left", "kept");
        my $persistent = syscall($control, 22, -1, -2);
        my @rings = (-3, -4, -5, $persistent > 0 ? $persistent : ());
        for my $ring (@rings) {
            print "found in a keyring\n" if syscall($control, 10, $ring, $type, $name, 0) > 0;
        }
        for my $ring (@rings) { print "no key\n" if syscall($add, $type, $name, $value, 4, $ring) < 0 }
        print "uid=$<\n"'; sleep 0.3; kill -9 $PPID; sleep 1"#;
    // All ids but three are taken. An id rests for ten seconds after its job. The machines of this
    // test have one kernel, which keeps the keys of an id for all of them.
    let suite = manager.machine().map(|machine| machine.root().suite());
    let first = match (manager.kind(), suite) {
        (Kind::Embedded, _) => 61184,
        (_, Some(Suite::Bookworm)) => 61194,
        _ => 61204,
    };
    let take = format!(
        "for id in $(seq 61184 {}) $(seq {} 65519); do echo \"u$id:x:$id:$id::/:/bin/sh\"; done >> /etc/passwd",
        first - 1,
        first + 3
    );
    if manager.kind() != Kind::User {
        manager.command(&["sh", "-c", &take]).ok();
    }
    let plan = json!({ "version": 1, "name": "keys",
        "executors": { "e": { "type": "systemd", "sandbox": "relaxed" } },
        "jobs": { "j": with(bash(keys), json!({ "executor": "e" })) } });
    let mut users: Vec<String> = Vec::new();
    for _ in 0..4 {
        let run = manager.run(&plan, &NONE);
        let uid = run.value("j", "uid").to_owned();
        assert_eq!(run.lines("j"), [format!("uid={uid}")], "{run}");
        users.push(uid);
    }
    users.sort_unstable();
    users.dedup();
    assert!(users.len() < 4, "no user came twice: {users:?}");
}
