//! The embedded manager on the real thing: a private systemd booted from this machine's own root
//! file system.
//!
//! A shell script stands in for the supervisor. Needs root and the packages that the manager needs;
//! without them the tests count as ignored and the reason is printed. This program is the client
//! and the manager's stages as well.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests, which clippy cannot tell without the standard harness"
)]

mod client;
mod instances;
mod run;

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant, SystemTime},
};

use instances::a_start_waits_for_inotify_instances;
use libtest_mimic::{Arguments, Trial};
use nix::sys::inotify::{InitFlags, Inotify};
use nixactions::embedded;
use run::{Booted, Run, client_command, names, processes, text};

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = embedded::entry(&argv).or_else(|| client::entry(&argv)) {
        return code;
    }
    let missing = embedded::check().err();
    if let Some(error) = &missing {
        eprintln!("ignored: {error}");
    }
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(missing.is_some())
    };
    let arguments = Arguments::from_args();
    let others = libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect());
    let alone = libtest_mimic::run(&arguments, ALONE.iter().map(trial).collect());
    if others.has_failed() {
        others.exit_code()
    } else {
        alone.exit_code()
    }
}

/// Names each test by its function.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
}

const TESTS: [(&str, fn()); 18] = tests![
    nothing_of_the_host_is_touched_and_nothing_is_left,
    outlives_a_client_that_is_killed,
    outlives_its_terminal,
    outlives_the_process_that_clears_up_and_the_next_manager_does_it,
    journal_is_read_from_outside_while_it_runs_and_afterwards,
    sandboxed_units_work,
    users_of_jobs_cannot_reach_the_manager,
    supervisor_is_restarted_and_units_survive_reload_and_reexecution,
    supervisor_that_cannot_be_executed_ends_the_manager,
    kill_ends_every_process,
    a_run_has_one_manager,
    up_to_twenty_managers_live_side_by_side,
    kept_paths_stay_visible_below_tmp_and_run,
    all_of_tmp_can_be_kept,
    all_missing_programs_are_named_at_once,
    without_privileges_it_says_what_to_do,
    failure_while_setting_up_is_told_to_the_client_and_leaves_nothing,
    start_up_time_is_printed,
];

/// Tests that run after the others.
const ALONE: [(&str, fn()); 1] = tests![a_start_waits_for_inotify_instances];

fn nothing_of_the_host_is_touched_and_nothing_is_left() {
    let run = Run::new("/tmp");
    let canaries: Vec<tempfile::NamedTempFile> = ["/tmp", "/run", "/var/tmp"]
        .map(|dir| tempfile::NamedTempFile::new_in(dir).unwrap())
        .into();
    for canary in &canaries {
        // Old enough for systemd-tmpfiles(8) to clean it, did it run.
        canary
            .as_file()
            .set_modified(SystemTime::now() - Duration::from_secs(100 * 86400))
            .unwrap();
    }
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let host = || {
        [
            "/etc",
            "/etc/systemd",
            "/var/lib",
            "/var/lib/systemd",
            "/var/log",
            "/var/log/journal",
        ]
        .map(|dir| Path::new(dir).is_dir().then(|| names(dir)))
    };
    let settings = || {
        [
            "fs/nr_open",
            "fs/file-max",
            "net/unix/max_dgram_qlen",
            "kernel/core_pattern",
            "kernel/hostname",
        ]
        .map(|name| fs::read_to_string(Path::new("/proc/sys").join(name)).ok())
    };
    let (mounts_before, host_before, settings_before) = (mounts(), host(), settings());

    let mut booted = run.boot(
        "ready
        for dir in /tmp /run /var/tmp /var/log /var/lib/systemd /dev/shm; do echo mine > $dir/from-within-$$ || echo $dir >> errors; done
        ls /tmp /var/tmp > seen
        echo x > /proc/sys/kernel/domainname && echo sysctl >> errors
        touch /sys/kernel/x 2>/dev/null && echo sysfs >> errors
        # CAP_SYS_MODULE and CAP_SYS_TIME
        (( 0x$(awk '/CapEff/ {print $2}' /proc/self/status) & (1 << 16 | 1 << 25) )) && echo capabilities >> errors
        systemctl list-units --all --plain --no-legend > units
        touch up; until [ -e end ]; do sleep 0.02; done",
    );
    run.wait_for_file("up");
    let (namespace, _held) = booted.namespace();
    let inside =
        |path: &Path| fs::read_link(path.join("ns/pid")).is_ok_and(|link| link == namespace);
    assert!(
        processes(inside).len() >= 4,
        "systemd, journald, the bus, the supervisor"
    );
    assert_eq!(
        mounts(),
        mounts_before,
        "no mount of the manager shows outside"
    );
    assert_eq!(run.cgroups().len(), 1);
    assert!(!run.dir.join("errors").exists(), "{}", run.read("errors"));
    for canary in &canaries {
        assert!(
            !run.read("seen")
                .contains(&*canary.path().file_name().unwrap().to_string_lossy()),
            "the host's /tmp is out of sight"
        );
    }
    let foreign = [
        "multi-user.target",
        "systemd-tmpfiles-setup.service",
        "systemd-udevd.service",
        "systemd-logind.service",
        "getty.target",
    ];
    for unit in run
        .read("units")
        .lines()
        .filter(|line| !line.contains("not-found"))
    {
        assert!(!foreign.iter().any(|name| unit.contains(name)), "{unit}");
    }

    fs::write(run.dir.join("end"), "").unwrap();
    run.wait_for_end();
    booted.stop_client();
    assert_eq!(processes(inside), Vec::<String>::new());
    let of_the_run = |path: &Path| {
        fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.contains(&run.id))
    };
    assert_eq!(processes(of_the_run), Vec::<String>::new());
    assert_eq!(run.cgroups(), Vec::<PathBuf>::new());
    assert_eq!(mounts(), mounts_before);
    assert_eq!(host(), host_before);
    assert_eq!(settings(), settings_before);
    for canary in &canaries {
        assert!(canary.path().exists());
    }
    assert!(
        !run.dir.join("manager").exists(),
        "the private /tmp is removed"
    );
}

fn outlives_a_client_that_is_killed() {
    let run = Run::new("/tmp");
    let mut booted = run.boot("ready; until [ -e end ]; do sleep 0.02; done; echo the last word");
    // At once: the manager is still starting.
    booted.stop_client();
    assert!(embedded::is_alive(&run.dir));
    fs::write(run.dir.join("end"), "").unwrap();
    run.wait_for_end();
    assert!(run.journal().contains("the last word"), "{}", run.journal());
    assert_eq!(run.cgroups(), Vec::<PathBuf>::new());
}

fn outlives_its_terminal() {
    let run = Run::new("/tmp");
    // The client leads a session on a terminal of its own. When the leader dies, the kernel hangs
    // up on the session.
    let client = run.client("ready; until [ -e end ]; do sleep 0.02; done; echo the last word");
    let words: Vec<String> = [client.get_program()]
        .into_iter()
        .chain(client.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let mut terminal = Command::new("script")
        .args(["-qec", &words.join(" "), "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    run.wait("manager.json", || run.dir.join("manager.json").exists());
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let of_the_client = |path: &Path| {
        fs::read_to_string(path.join("cmdline"))
            .is_ok_and(|line| line.contains("--stay") && line.contains(&run.id))
    };
    run.wait("the client's end", || processes(of_the_client).is_empty());
    assert!(embedded::is_alive(&run.dir));
    fs::write(run.dir.join("end"), "").unwrap();
    run.wait_for_end();
    assert!(run.journal().contains("the last word"), "{}", run.journal());
}

fn outlives_the_process_that_clears_up_and_the_next_manager_does_it() {
    let run = Run::new("/tmp");
    let booted = run.boot("ready; touch up; until [ -e end ]; do sleep 0.02; done");
    run.wait_for_file("up");
    let title = format!("nixactions\0embedded\0{}\0", run.id);
    let is_init =
        |path: &Path| fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line == title);
    let init = processes(is_init);
    let pid = init[0]
        .trim_start_matches("/proc/")
        .split(':')
        .next()
        .unwrap();
    assert!(
        Command::new("kill")
            .args(["-KILL", pid])
            .status()
            .unwrap()
            .success()
    );
    run.wait("the process's end", || processes(is_init).is_empty());
    assert!(embedded::is_alive(&run.dir), "PID 1 lives");
    fs::write(run.dir.join("end"), "").unwrap();
    run.wait_for_end();
    drop(booted);
    assert_eq!(run.cgroups().len(), 1, "nobody could remove it");
    let next = Run::new("/tmp");
    next.finish("ready");
    assert_eq!(run.cgroups(), Vec::<PathBuf>::new());
}

fn journal_is_read_from_outside_while_it_runs_and_afterwards() {
    let run = Run::new("/var/lib");
    let _booted =
        run.boot("ready; systemd-run -q --wait -p DynamicUser=yes echo by a unit; until [ -e end ]; do sleep 0.02; done; echo goodbye");
    run.wait("the unit's line", || run.journal().contains("by a unit"));
    assert!(embedded::is_alive(&run.dir));
    fs::write(run.dir.join("end"), "").unwrap();
    run.wait_for_end();
    assert!(embedded::failure(&run.dir).is_none());
    let journal = run.journal();
    assert!(
        journal.contains("by a unit") && journal.contains("goodbye"),
        "{journal}"
    );
    let field = format!("NIXACTIONS_RUN={}", run.id);
    let output = Command::new("journalctl")
        .args(["-q", "-o", "cat", "-D"])
        .arg(run.dir.join("journal"))
        .arg(field)
        .output()
        .unwrap();
    assert!(text(&output).contains("goodbye"), "{}", text(&output));
}

fn sandboxed_units_work() {
    let run = Run::new("/tmp");
    let out = run.finish(
        r#"ready
        mkdir job; chmod 777 job; echo secret > credential
        # Without CAP_SYS_PTRACE, systemd does not get the one together with ProtectProc=.
        users=no; (( 0x$(awk '/CapEff/ {print $2}' /proc/self/status) & (1 << 19) )) && users=yes
        systemd-run -q --wait --pipe -p DynamicUser=yes -p ProtectSystem=strict -p ProtectHome=tmpfs -p PrivateTmp=yes -p PrivateDevices=yes \
            -p PrivateUsers=$users -p PrivateNetwork=yes -p ProtectProc=invisible -p ProtectKernelTunables=yes -p RestrictNamespaces=yes \
            -p TemporaryFileSystem=${D%/runs/*}:ro -p BindPaths=$D/job -p LoadCredential=c:$D/credential \
            sh -c 'cat $CREDENTIALS_DIRECTORY/c; ls -A $0; echo written > $0/job/file; echo no > /etc/nixactions-test || echo read-only' $D
        echo status $?; cat job/file"#,
    );
    let lines: Vec<&str> = out
        .lines()
        .filter(|line| !line.contains("/etc/nixactions-test"))
        .collect();
    assert_eq!(
        lines,
        ["secret", "job", "read-only", "status 0", "written"],
        "{out}"
    );
}

fn users_of_jobs_cannot_reach_the_manager() {
    let run = Run::new("/tmp");
    let out = run.finish(
        "ready
        systemd-run -q --wait --pipe -p DynamicUser=yes busctl list; echo status $?
        systemd-run -q --wait --pipe -p DynamicUser=yes systemctl list-units; echo status $?
        systemd-run -q --wait --pipe -p DynamicUser=yes systemd-run true; echo status $?
        systemd-run -q --wait --pipe busctl call org.freedesktop.systemd1 / org.freedesktop.DBus.Peer Ping; echo status $?",
    );
    let statuses: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("status"))
        .collect();
    assert_eq!(
        statuses,
        ["status 1", "status 1", "status 1", "status 0"],
        "{out}"
    );
}

fn supervisor_is_restarted_and_units_survive_reload_and_reexecution() {
    let run = Run::new("/tmp");
    let out = run.finish(
        "exec >>log 2>&1
        echo start >> starts; ready
        if [ $(wc -l < starts) = 1 ]; then systemd-run -q --unit=job sleep 1000; kill -KILL $$; fi
        systemctl daemon-reload; systemctl is-active job
        systemctl daemon-reexec; systemctl is-active job
        systemctl show -P SubState job; systemd-run -q --wait --pipe echo after; cp log out",
    );
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        ["active", "active", "running", "after"],
        "{out}"
    );
    assert_eq!(run.read("starts").lines().count(), 2);
}

fn supervisor_that_cannot_be_executed_ends_the_manager() {
    let run = Run::new("/tmp");
    let program = run.dir.join("text");
    fs::write(&program, "not a program").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = client_command()
        .args([&run.state_dir, &run.dir])
        .args([&run.id, "--"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    run.wait_for_end();
    let error = embedded::failure(&run.dir).expect("a failure");
    assert!(
        error
            .to_string()
            .starts_with("the run's private systemd ended: exit status: 203: "),
        "{error}"
    );
    assert_eq!(
        error.hints(),
        [format!("see `{}`", run.dir.join("manager.log").display())]
    );
    // In the one or the other: PID 1 tries it before there is a journal.
    assert!(
        (run.log() + &run.journal()).contains("Exec format error"),
        "{}{}",
        run.log(),
        run.journal()
    );
}

fn kill_ends_every_process() {
    let run = Run::new("/tmp");
    let booted = run
        .boot("ready; systemd-run -q sleep 1000; (trap '' TERM INT; setsid sleep 1001) & touch up; until [ -e end ]; do sleep 0.02; done");
    run.wait_for_file("up");
    let (namespace, _held) = booted.namespace();
    let inside =
        |path: &Path| fs::read_link(path.join("ns/pid")).is_ok_and(|link| link == namespace);
    assert!(processes(inside).len() >= 6);
    assert!(embedded::kill(&run.dir).unwrap());
    run.wait_for_end();
    assert_eq!(processes(inside), Vec::<String>::new());
    assert_eq!(run.cgroups(), Vec::<PathBuf>::new());
    assert!(
        embedded::failure(&run.dir)
            .unwrap()
            .to_string()
            .starts_with("the run's private systemd ended: signal: 9")
    );
    assert!(
        !embedded::kill(&run.dir).unwrap(),
        "there is nothing left to kill"
    );
}

fn a_run_has_one_manager() {
    let run = Run::new("/tmp");
    let _booted = run.boot("ready; until [ -e end ]; do sleep 0.02; done");
    let output = run.client("true").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output),
        format!(
            "error: run `{}` already has a living manager\nhint: attach to it, or cancel it\n",
            run.id
        )
    );
    assert!(embedded::is_alive(&run.dir));
}

fn up_to_twenty_managers_live_side_by_side() {
    // Each holds five inotify instances; root has 128 by default. Other tests, and other processes
    // of the machine, need some too.
    let free = (0..160)
        .map_while(|_| Inotify::init(InitFlags::IN_CLOEXEC).ok())
        .collect::<Vec<_>>()
        .len();
    let number = (free.saturating_sub(40) / 5).clamp(2, 20);
    eprintln!("{number} managers, as {free} inotify instances are free");
    let runs: Vec<Run> = (0..number).map(|_| Run::new("/tmp")).collect();
    let booted: Vec<Booted> = runs
        .iter()
        .map(|run| run.boot("ready; systemd-run -q --wait echo I am $D; touch up; until [ -e end ]; do sleep 0.05; done"))
        .collect();
    for run in &runs {
        run.wait_for_file("up");
    }
    assert!(runs.iter().all(|run| embedded::is_alive(&run.dir)));
    for run in &runs {
        fs::write(run.dir.join("end"), "").unwrap();
    }
    for run in &runs {
        run.wait_for_end();
        let said: Vec<String> = run
            .journal()
            .lines()
            .filter(|line| line.starts_with("I am"))
            .map(str::to_owned)
            .collect();
        assert_eq!(said, [format!("I am {}", run.dir.display())]);
        assert_eq!(run.cgroups(), Vec::<PathBuf>::new());
    }
    drop(booted);
}

fn kept_paths_stay_visible_below_tmp_and_run() {
    let mut run = Run::new("/var/tmp");
    let secret = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in("/tmp")
        .unwrap();
    let tree = secret.path().join("deep/tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("file"), "in the tree").unwrap();
    let socket = tempfile::NamedTempFile::new_in("/run").unwrap();
    let link = secret.path().join("link");
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    run.keep = vec![tree.clone(), socket.path().to_owned(), link.clone()];
    let out = run.finish(&format!(
        "ready; cat {0}/file {1}/file; echo; stat -c %a {2}; test -e {3} && echo there; echo new > {0}/new; ls -A {2}",
        tree.display(),
        link.display(),
        secret.path().display(),
        socket.path().display()
    ));
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        ["in the treein the tree", "700", "there", "deep", "link"],
        "{out}"
    );
    assert_eq!(fs::read_to_string(tree.join("new")).unwrap(), "new\n");
    assert_eq!(
        fs::symlink_metadata(secret.path()).unwrap().mode() & 0o777,
        0o700
    );
}

fn all_of_tmp_can_be_kept() {
    let mut run = Run::new("/var/lib");
    let canary = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    run.keep = vec!["/tmp".into()];
    assert_eq!(
        run.finish(&format!("ready; ls {}", canary.path().display()))
            .trim(),
        canary.path().to_str().unwrap()
    );
    assert!(canary.path().exists());
}

fn all_missing_programs_are_named_at_once() {
    let run = Run::new("/tmp");
    // Hidden in a mount namespace of the client's own.
    let hide = "mount --make-rprivate /; for f in /usr/bin/dbus-daemon /usr/bin/dbus-broker-launch /usr/lib/systemd/systemd-journald; do [ ! -e $f ] || mount --bind /dev/null $f; done; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", hide, "-"])
        .arg(std::env::current_exe().unwrap())
        .args(["client", "--check"])
        .output()
        .unwrap();
    assert_eq!(
        text(&output),
        "error: the embedded manager cannot run here: missing `systemd-journald`, `dbus-daemon` or `dbus-broker-launch`\n\
         hint: install systemd and D-Bus: `apt-get install systemd dbus`\n"
    );
    assert!(!embedded::is_alive(&run.dir));
}

fn without_privileges_it_says_what_to_do() {
    let _run = Run::new("/tmp");
    let program = tempfile::NamedTempFile::new_in("/tmp")
        .unwrap()
        .into_temp_path();
    // By another process: a test that forks meanwhile would inherit the open file and keep it from
    // being executed.
    assert!(
        Command::new("cp")
            .arg(std::env::current_exe().unwrap())
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups"])
        .arg(&program)
        .args(["client", "--check"])
        .output()
        .unwrap();
    assert!(
        text(&output).starts_with("error: the embedded manager cannot run here: missing root's privileges\nhint: run it as root"),
        "{}",
        text(&output)
    );
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-sys_admin"])
        .arg(&program)
        .args(["client", "--check"])
        .output()
        .unwrap();
    assert!(
        text(&output).contains("missing CAP_SYS_ADMIN\nhint: give the container CAP_SYS_ADMIN"),
        "{}",
        text(&output)
    );
}

fn failure_while_setting_up_is_told_to_the_client_and_leaves_nothing() {
    let run = Run::new("/tmp");
    let client = run.client("true");
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-sys_chroot"])
        .arg(client.get_program())
        .args(client.get_args().filter(|word| *word != "--stay"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("to the mount namespace: Operation not permitted")
            || text(&output).contains("keep mounts away from the host: "),
        "{}",
        text(&output)
    );
    assert!(
        text(&output).contains("hint: in a container, give it CAP_SYS_ADMIN"),
        "{}",
        text(&output)
    );
    assert!(!embedded::is_alive(&run.dir));
    assert_eq!(run.cgroups(), Vec::<PathBuf>::new());
}

fn start_up_time_is_printed() {
    let run = Run::new("/tmp");
    let started = Instant::now();
    let booted = run.boot("touch up; ready; until [ -e end ]; do sleep 0.02; done");
    run.wait_for_file("up");
    eprintln!(
        "boot() took {}, the supervisor ran after {:?}",
        booted.took,
        started.elapsed()
    );
}
