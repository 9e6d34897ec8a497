//! The limits of a job at each level, and how a plan may open or tighten them.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt as _, path::Path};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, SOON, Suite, bash, on_managers, on_shared_managers,
    with,
};
use serde_json::json;

on_shared_managers!(
    a_strict_job_reaches_nothing_but_its_own,
    levels_open_what_they_say,
    properties_reach_the_unit,
    sockets_of_the_host_are_reached_only_where_the_plan_says_so,
    shared_memory_is_a_jobs_own,
);
on_managers!(systemd_calls_a_default_job_well_confined on system_252, system_257, system_262);
on_managers!(a_kernel_without_landlock_scopes_is_told_once on system_262);
on_managers!(lines_arrive_after_a_restart_of_journald on system_252, system_262);
on_managers!(names_of_other_runs_are_hidden on embedded_262, system_252, system_257, system_262, user_262);
on_managers!(no_job_floods_pid_1_by_way_of_journald on system_252, system_257, system_262);
// The host's /root is not ours, and a user's state directory lies in /home anyway.
on_managers!(the_state_directory_may_lie_in_a_hidden_one on embedded_257, embedded_262, system_252, system_257, system_262);

const NONE: [&str; 0] = [];

/// Functions for probes: `denied NAME COMMAND...` prints a line if the command succeeds.
const PROBE: &str = "denied() { local name=$1; shift; if \"$@\" >/dev/null 2>&1; then echo \"LEAK $name: $*\"; fi; }
    run=/run/nixactions; ";

fn a_strict_job_reaches_nothing_but_its_own(manager: &Manager) {
    let outside = manager.open_directory("outside");
    let secret = manager.write("secret", "the host's");
    fs::set_permissions(manager.file(&secret), fs::Permissions::from_mode(0o600))
        .expect("it is ours");
    // Another run. The job must see nothing of it.
    let other = manager
        .run(
            &json!({ "version": 1, "name": "other", "jobs": { "j": bash("true") } }),
            &NONE,
        )
        .exits(0);
    let probe = format!(
        "{PROBE}
        for file in run.json plan.json events.jsonl supervisor.lock control record.json; do denied read ls $run/$file; done
        denied read-others ls {state}/runs/{other}; [ -z \"$(ls -A {state} 2>/dev/null)\" ] || echo LEAK runs: $(ls {state})
        for dir in $run {state}/runs/$NIXACTIONS_RUN; do denied other-job ls $dir/jobs/busy/work; denied other-job cat $dir/jobs/busy/spec.json; done
        for file in x events.jsonl shared/x shared/cancelled slots/run/0 control/cancel jobs/x {own} jobs/busy/out/events.jsonl \
            jobs/busy/x bin/x bin/nixactions-runner jobs/need/out/events.jsonl jobs/need/out/x; do denied write bash -c \"echo > $run/$file\"; done
        denied replace mv $run/jobs/need/out/events.jsonl $run/jobs/need/out/old
        for dir in / /etc /usr /usr/bin /var /var/lib /opt /srv /boot /run /run/systemd $run {outside}; do denied write touch $dir/probe; done
        denied secret cat {secret}; denied shadow cat /etc/shadow
        for dir in /root /home; do [ -z \"$(ls -A $dir 2>/dev/null)\" ] || case $run in $dir/*) ;; *) echo LEAK $dir: $(ls -A $dir);; esac; done
        denied mount mount -t tmpfs none $HOME; denied umount umount /; denied chroot chroot / true
        denied unshare unshare --mount true; denied unshare unshare --user true; denied unshare unshare --user --map-root-user --net true
        denied device mknod $HOME/null c 1 3; [ $PPID = 1 ] || denied kill bash -c 'kill -0 1'; denied hostname hostname owned
        cp /usr/bin/id $HOME/id; chmod 6755 $HOME/id 2>/dev/null || true; for dir in $HOME . /tmp $NIXACTIONS_WORKSPACE/../../..; do
            findmnt --noheadings --output OPTIONS --target $dir | grep -qw nosuid || echo LEAK setuid in $dir; done
        denied manager systemd-run --quiet true; denied manager systemd-run --user --quiet true
        denied manager systemctl stop nixactions-$NIXACTIONS_RUN.service; denied manager busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
            org.freedesktop.systemd1.Manager KillUnit ssi nixactions-$NIXACTIONS_RUN-busy.service all 9
        denied cgroup mkdir /sys/fs/cgroup/probe
        grep -q '^NoNewPrivs:.1$' /proc/self/status || echo LEAK privileges; grep -q '^CapEff:.0*$' /proc/self/status || echo LEAK capabilities
        echo works > file && cat file && touch $HOME/x /tmp/x && echo uid=$(id -u)",
        other = other.id,
        state = manager.state_dir().display(),
        outside = outside.display(),
        secret = secret.display(),
        // A job of a user's manager shares the user with the manager.
        own = if manager.kind() == Kind::User { "job/spec.json" } else { "job/x job/spec.json" },
    );
    let plan = json!({ "version": 1, "name": "strict", "maxParallel": 2, "jobs": {
        "need": bash("true"),
        "busy": with(bash("for i in $(seq 600); do [ -e ../../stop ] && break; sleep 0.05; done; exit 1"), json!({ "timeout": 20, "continueOnError": true })),
        "probe": with(bash(&probe), json!({ "needs": ["need"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_event("jobFinished", Some("probe"));
    fs::write(run.dir().join("jobs/busy/stop"), "").expect("the run directory is ours");
    let run = run.end().exits(0);
    let lines = run.lines("probe");
    assert_eq!(lines[..lines.len() - 1], ["works"], "{run}");
    // A user's own manager cannot give a job another user.
    let is_own = lines[lines.len() - 1] == "uid=1000";
    assert_eq!(is_own, manager.kind() == Kind::User, "{run}");
    assert_ne!(lines[lines.len() - 1], "uid=0");
    // The other job's result is the one that its runner left.
    assert_eq!(
        (run.verdict("busy"), run.reason("busy")),
        ("failure/success".to_owned(), "step it: exit status 1"),
        "{run}"
    );
    assert_eq!(run.verdict("need"), "success/success");
    assert_eq!(
        fs::read_dir(manager.file(&outside))
            .expect("it is there")
            .count(),
        0
    );
}

fn levels_open_what_they_say(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "levels",
        "executors": {
            "relaxed": { "type": "systemd", "sandbox": "relaxed" },
            "none": { "type": "systemd", "sandbox": "none" },
        },
        "jobs": {
            "relaxed": with(bash(&format!("{PROBE} denied read ls $run/plan.json; denied read ls {state}/runs; denied write touch /etc/probe; denied root ls -A /root/.bashrc
                unshare --user --map-root-user true && echo userns; echo uid=$(id -u)", state = manager.state_dir().display())), json!({ "executor": "relaxed" })),
            "none": with(bash("cat ../../../../plan.json >/dev/null && echo uid=$(id -u)"), json!({ "executor": "none" })),
        } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("relaxed")[0], "userns", "{run}");
    let uid = run.value("relaxed", "uid");
    assert_eq!(uid == "1000", manager.kind() == Kind::User, "{run}");
    assert_ne!(uid, "0", "{run}");
    assert_eq!(
        run.lines("none"),
        [if manager.kind() == Kind::User {
            "uid=1000"
        } else {
            "uid=0"
        }],
        "{run}"
    );
}

fn properties_reach_the_unit(manager: &Manager) {
    let open = manager.open_directory("open");
    let target = manager.open_directory("target");
    let shown = manager.write("shown/file", "bound\n");
    let bind = format!(
        "{}:{}",
        shown.parent().expect("it is in a directory").display(),
        target.display()
    );
    let mut jobs = json!({
        "network": with(bash("cat /proc/net/dev | grep -c :"), json!({ "properties": { "PrivateNetwork": "yes" } })),
        "bind": with(bash(&format!("cat {0}/file; touch {0}/x 2>/dev/null || echo read-only", target.display())),
            json!({ "properties": { "BindReadOnlyPaths": bind } })),
        "write": with(bash(&format!("echo from-job > {}/left", open.display())), json!({ "executor": "writer" })),
        "limits": with(bash("ulimit -Sn; nice"), json!({ "properties": { "LimitNOFILE": "512", "Nice": "7" } })),
        "memory": with(bash("touch started; until [ -e stop ]; do sleep 0.05; done"), json!({ "properties": { "MemoryMax": "64M", "TasksMax": "50" } })),
    });
    if manager.kind() != Kind::User {
        jobs["user"] = with(
            bash("id -un; touch file"),
            json!({ "properties": { "User": "daemon" } }),
        );
    }
    let plan = json!({ "version": 1, "name": "properties", "maxParallel": 6, "jobs": jobs,
        "executors": { "writer": { "type": "systemd", "properties": { "ReadWritePaths": open.display().to_string() } } } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("memory", "started");
    if manager.kind() != Kind::Embedded || manager.machine().is_some() {
        let unit = format!("nixactions-{}-memory.service", run.id());
        let own = ["show", "--property=MemoryMax,TasksMax", unit.as_str()];
        // Of several embedded managers the latest is meant, which on a shared machine may be
        // another's.
        let text = String::from_utf8_lossy(&manager.systemctl(&own).output_within(SOON).stdout)
            .into_owned();
        assert!(
            manager.kind() == Kind::Embedded || text == "MemoryMax=67108864\nTasksMax=50\n",
            "{text}"
        );
    }
    run.release("memory", "stop");
    let run = run.end().exits(0);
    assert_eq!(run.lines("network"), ["1"], "{run}");
    assert_eq!(run.lines("bind"), ["bound", "read-only"], "{run}");
    assert_eq!(run.lines("limits"), ["512", "7"], "{run}");
    assert_eq!(
        fs::read_to_string(manager.file(open.join("left"))).expect("it was written"),
        "from-job\n"
    );
    if manager.kind() != Kind::User {
        assert_eq!(run.lines("user"), ["daemon"], "{run}");
    }
    limits_hold_or_are_warned_about(&run);
}

/// A limit that no controller enforces here must be told of, and no other.
fn limits_hold_or_are_warned_about(run: &Finished) {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let warned = run.events.iter().any(|event| {
        event["event"]["type"] == "warning"
            && event["event"]["message"].to_string().contains("MemoryMax")
    });
    assert_eq!(
        warned,
        !controllers.contains("memory"),
        "controllers here: {controllers:?}; {run}"
    );
}

fn the_state_directory_may_lie_in_a_hidden_one(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "hidden", "jobs": {
        "make": with(bash("echo made > file; ls -A /root /home /tmp 2>/dev/null | grep -v ^/ | grep -v '^$' || true"), json!({ "outputs": { "file": "file" } })),
        "take": with(bash("cat file"), json!({ "needs": ["make"], "inputs": ["file"] })),
    } });
    let plan = manager.plan(&plan).display().to_string();
    for dir in [
        "/root/state",
        "/home/state/deep",
        "/tmp/state",
        "/var/tmp/state",
        "/srv/state with blank",
    ] {
        let run = manager.start_command(manager.nixactions(&[
            "run",
            &plan,
            "--output=json",
            "--state-dir",
            dir,
        ]));
        let id = run.id().to_owned();
        let run = run.end().exits(0);
        assert_eq!(run.lines("take"), ["made"], "state in {dir}: {run}");
        assert_eq!(run.lines("make"), NONE, "state in {dir}: {run}");
        let record = manager
            .nixactions(&["show", &id, "--json", "--state-dir", dir])
            .json();
        assert_eq!(record["jobs"]["take"]["outcome"], "success");
    }
    // And so may the program.
    let beside_runs = manager.state_dir().join("bin");
    fs::create_dir_all(manager.file(&beside_runs)).expect("the machine is writable");
    for (program, to) in ["nixactions", "nixactions-runner"]
        .into_iter()
        .flat_map(|program| [(program, Path::new("/root")), (program, &beside_runs)])
    {
        fs::copy(
            manager.file(Path::new("/usr/bin").join(program)),
            manager.file(to.join(program)),
        )
        .expect("the machine is writable");
    }
    let kind = if manager.kind() == Kind::System {
        "system"
    } else {
        "embedded"
    };
    for directory in [Path::new("/root"), &beside_runs] {
        let program = directory.join("nixactions").display().to_string();
        manager
            .command(&[program.as_str(), "run", "--manager", kind, &plan])
            .ok();
    }
}

fn sockets_of_the_host_are_reached_only_where_the_plan_says_so(manager: &Manager) {
    let bus = "/run/dbus/system_bus_socket";
    // Directories that the job may not read do not lead to a socket either.
    let look = format!(
        "{{ find /run /var/run/ -type s 2>/dev/null || true; }} | sort -u; [ ! -e {bus} ]; [ ! -e /run/systemd/private ]"
    );
    let plan = json!({ "version": 1, "name": "sockets",
        "executors": { "relaxed": { "type": "systemd", "sandbox": "relaxed" } },
        "jobs": {
            "strict": bash(&look),
            "relaxed": with(bash(&look), json!({ "executor": "relaxed" })),
            "bound": with(bash(&format!("[ -S {bus} ] && echo there")),
                json!({ "properties": { "BindPaths": bus } })),
        } });
    let run = manager.run(&plan, &NONE).exits(0);
    for job in ["strict", "relaxed"] {
        let found: Vec<_> = run
            .lines(job)
            .into_iter()
            // journald passes a connection to its socket `stdout` on to PID 1.
            .filter(|path| {
                !["/socket", "/dev-log"]
                    .iter()
                    .any(|socket| path.ends_with(&format!("/run/systemd/journal{socket}")))
            })
            .collect();
        assert_eq!(found, NONE, "{job} of {run}");
    }
    assert_eq!(run.lines("bound"), ["there"], "{run}");
}

/// journald hands each connection to its stream socket on to PID 1, which some thousand stop.
fn no_job_floods_pid_1_by_way_of_journald(manager: &Manager) {
    let flood = r#"perl -MSocket -e '
        my @open;
        for my $path (map { ($_, "/proc/1/root$_") } glob("/run/systemd/journal/{stdout,io.systemd.journal,dev-log,socket}")) {
            for (1 .. 2000) {
                socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or last;
                connect($socket, pack_sockaddr_un($path)) or last;
                syswrite($socket, "x\n\n6\n0\n0\n0\n0\n");
                push @open, $socket;
            }
        }
        print scalar(@open), " connections\n"'; systemd-cat true 2>/dev/null || echo no stream"#;
    let plan = json!({ "version": 1, "name": "flood",
        "executors": { "relaxed": { "type": "systemd", "sandbox": "relaxed" } },
        "jobs": { "strict": bash(flood), "relaxed": with(bash(flood), json!({ "executor": "relaxed" })) } });
    let run = manager.run(&plan, &NONE).exits(0);
    for job in ["strict", "relaxed"] {
        assert_eq!(
            run.lines(job),
            ["0 connections", "no stream"],
            "{job}: {run}"
        );
    }
}

/// A job sees the socket itself, not its directory, so PID 1 must keep the socket.
fn lines_arrive_after_a_restart_of_journald(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "restarted", "jobs": {
        "j": bash("echo before; touch started; until [ -e go ]; do sleep 0.05; done; echo after; logger --socket-errors=on late") } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    manager
        .command(&["systemctl", "restart", "systemd-journald.service"])
        .ok();
    run.release("j", "go");
    let run = run.end().exits(0);
    assert_eq!(run.lines("j"), ["before", "after"], "{run}");
}

/// Records of users and control groups have the names of runs and jobs. systemd hides control
/// groups from 258 on.
fn names_of_other_runs_are_hidden(manager: &Manager) {
    let look = "until [ -e go ]; do sleep 0.05; done
        { ls -A /run/userdb || true; } 2>/dev/null | grep -v -e \"^$(id -un)[.]\" -e \"^$(id -u)[.]\" || true
        find /sys/fs/cgroup -name '*beside*' -o -name 'nixactions-*.service'
        [ $(id -un) = $(id -un $(id -u)) ]; getent passwd $(id -u) | cut -d: -f7; touch looked; until [ -e stop ]; do sleep 0.05; done";
    for level in ["strict", "relaxed"] {
        let plan = json!({ "version": 1, "name": "names", "maxParallel": 2,
            "executors": { "e": { "type": "systemd", "sandbox": level } },
            "jobs": { "look": with(bash(look), json!({ "executor": "e" })), "beside": with(bash(look), json!({ "executor": "e" })) } });
        let run = manager.start(&plan, &NONE);
        for job in ["look", "beside"] {
            run.wait_for_event("stepStarted", Some(job));
        }
        for job in ["look", "beside"] {
            run.release(job, "go");
        }
        for job in ["look", "beside"] {
            run.wait_for_file(job, "looked");
            run.release(job, "stop");
        }
        let run = run.end().exits(0);
        let lines = run.lines("look");
        let (groups, rest): (Vec<&str>, Vec<&str>) =
            lines.iter().partition(|line| line.contains("/cgroup"));
        // A user's manager has no users to make.
        assert_eq!(rest.len(), 1, "{level}: {run}");
        assert!(rest[0].ends_with("sh"), "{level}: {run}");
        let is_new = manager.machine().map(|machine| machine.root().suite()) == Some(Suite::Forky);
        if is_new && (level == "strict" || manager.kind() == Kind::User) {
            assert_eq!(groups, NONE, "{level}: {run}");
        }
    }
}

fn shared_memory_is_a_jobs_own(manager: &Manager) {
    // A file in /dev/shm, and a queue of messages (sysvipc(7)), which perl can make.
    let make = "echo mine > /dev/shm/nixactions-shm; perl -e 'exit !defined msgget(7001, 0600 | 01000)'; touch made; until [ -e stop ]; do sleep 0.05; done";
    let look =
        "[ ! -e /dev/shm/nixactions-shm ]; perl -e 'exit defined msgget(7001, 0)'; echo none";
    let plan = |sandbox: &str| {
        json!({ "version": 1, "name": "memory", "maxParallel": 2,
            "executors": { "e": { "type": "systemd", "sandbox": sandbox } },
            "jobs": { "make": with(bash(make), json!({ "executor": "e" })), "look": with(bash(&format!("until [ -e go ]; do sleep 0.05; done; {look}")), json!({ "executor": "e" })) } })
    };
    for sandbox in ["strict", "relaxed"] {
        // There message queues are the host's.
        if manager.kind() == Kind::User && sandbox == "relaxed" {
            continue;
        }
        let run = manager.start(&plan(sandbox), &NONE);
        run.wait_for_file("make", "made");
        run.wait_for_event("jobStarted", Some("look"));
        run.release("look", "go");
        run.wait_for_event("jobFinished", Some("look"));
        run.release("make", "stop");
        let run = run.end().exits(0);
        assert_eq!(run.lines("look"), ["none"], "{run}");
    }
}

fn systemd_calls_a_default_job_well_confined(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "scored", "jobs": {
        "j": bash("touch started; until [ -e stop ]; do sleep 0.05; done") } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    let unit = format!("nixactions-{}-j.service", run.id());
    let text = manager
        .command(&["systemd-analyze", "security", "--no-pager", &unit])
        .ok();
    run.release("j", "stop");
    run.end().exits(0);
    let level = text.lines().find_map(|line| {
        line.split_once("exposure level for ")?
            .1
            .split(' ')
            .nth(1)?
            .parse()
            .ok()
    });
    assert!(level.is_some_and(|level: f64| level <= 2.0), "{text}");
}

/// A filter of system calls stands for a kernel without Landlock.
fn a_kernel_without_landlock_scopes_is_told_once(manager: &Manager) {
    const FILTER: &str = "SystemCallFilter=~landlock_create_ruleset";
    let strict =
        json!({ "version": 1, "name": "strict", "jobs": { "a": bash("true"), "b": bash("true") } });
    let bare = json!({ "version": 1, "name": "bare",
        "executors": { "bare": { "type": "systemd", "sandbox": "none" } },
        "jobs": { "a": with(bash("true"), json!({ "executor": "bare" })) } });
    let drop_in = format!(
        "mkdir -p /run/systemd/system/nixactions-.service.d
        printf '[Service]\\n{FILTER}\\n' > /run/systemd/system/nixactions-.service.d/landlock.conf
        systemctl daemon-reload"
    );
    manager.command(&["sh", "-c", &drop_in]).ok();
    for (plan, count) in [(&strict, 1), (&bare, 0)] {
        let run = manager.run(plan, &NONE).exits(0);
        let messages = run
            .events
            .iter()
            .filter_map(|event| event["event"]["message"].as_str());
        let told = messages.filter(|message| message.contains("Landlock"));
        assert_eq!(told.count(), count, "{run}");
        let plan = manager.plan(plan);
        let (plan, program) = (plan.as_os_str(), manager.program().as_os_str());
        let argv = ["systemd-run", "--quiet", "--wait", "--pipe", "-p", FILTER];
        let own = ["-p", "SystemCallErrorNumber=EPERM"];
        let argv: Vec<&OsStr> = argv
            .iter()
            .chain(&own)
            .map(OsStr::new)
            .chain([program, "check".as_ref(), plan])
            .collect();
        let output = manager.command(&argv).output_within(SOON);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("Landlock").count(), count, "{said}");
    }
}
