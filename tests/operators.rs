//! Users without root who use the machine's workflows: with `systemctl`, where polkit asks the rule
//! of the NixOS module, and with `nixactions --system`, through the module's socket.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use nixactions_harness::{
    CommandExt as _, Manager, Nix, SOON, Skip, on_managers, or_skip, wait_for,
};

on_managers!(operators_start_and_stop_the_services_of_workflows on system_252, system_257, system_262);
on_managers!(polkit_allows_operators_nothing_else on system_252, system_257, system_262);
on_managers!(operators_read_cancel_and_rerun_runs_without_root on system_257, system_262);
on_managers!(strangers_are_refused_with_a_reason on system_257, system_262);
on_managers!(the_socket_takes_no_commands_of_root on system_262);
on_managers!(a_run_goes_on_when_the_operators_command_is_killed on system_262);
on_managers!(a_stranger_cannot_stop_the_socket on system_252);
on_managers!(a_machine_without_operators_says_so on system_262);

/// An operator by name, one by group, and a stranger.
const ALICE: u32 = 2001;
const CAROL: u32 = 2002;
const BOB: u32 = 2003;

const MODULE: &str = r#"{
    users.users.alice = { };
    users.groups.ci = { };
    services.nixactions = {
        enable = true;
        operators = { users = [ "alice" ]; groups = [ "ci" ]; };
        workflows = {
            ci.settings.jobs.a.steps = [ { bash = "echo said by $NIXACTIONS_ACTOR"; } ];
            gone.settings.jobs.a.steps = [ { bash = "true"; } ];
            wait.settings.jobs.a.steps = [ { bash = "touch started; until [ -e stop ]; do sleep 0.05; done"; } ];
        };
    };
}"#;

/// Makes a machine with these users and the module's units.
fn prepare<'a>(manager: &'a Manager, module: &str) -> Result<Nix<'a>, Skip> {
    let nix = manager.nix()?;
    nix.polkit()?;
    let users = format!(
        "groupadd ci && useradd -U -u {ALICE} alice && useradd -U -u {CAROL} -G ci carol && useradd -U -u {BOB} bob"
    );
    manager.command(&["sh", "-c", &users]).ok();
    // Root alone may enter the directories of the test.
    let program = manager.file(manager.program());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    nix.install(module);
    Ok(nix)
}

/// Returns a command of a user.
fn by<S: AsRef<std::ffi::OsStr>>(manager: &Manager, user: u32, argv: &[S]) -> Command {
    let machine = manager.machine().expect("it is in a machine");
    machine.command_as(Some(user), Path::new("/"), argv)
}

/// Returns a command `nixactions --system …` of a user.
fn call(manager: &Manager, user: u32, arguments: &[&str]) -> Command {
    let program = manager.program().display().to_string();
    by(
        manager,
        user,
        &[&[program.as_str(), "--system"], arguments].concat(),
    )
}

/// Returns the exit status and the messages of a command.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output_within(SOON);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    (output.status.code(), said)
}

fn start_waiting(manager: &Manager) {
    manager.systemctl(&["start", "nixactions@wait"]).ok();
    manager.run_of("wait-1").wait_for_file("a", "started");
}

fn operators_start_and_stop_the_services_of_workflows(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    let start = ["systemctl", "start", "nixactions@ci"];
    by(manager, ALICE, &start).ok();
    by(manager, CAROL, &start).ok();
    let (_, said) = refused(by(manager, BOB, &start));
    assert!(
        said.contains("authentication required") || said.contains("Access denied"),
        "{said}"
    );

    by(manager, ALICE, &["systemctl", "start", "nixactions@wait"]).ok();
    manager.run_of("wait-1").wait_for_file("a", "started");
    refused(by(manager, BOB, &["systemctl", "stop", "nixactions@wait"]));
    by(manager, CAROL, &["systemctl", "stop", "nixactions@wait"]).ok();
    assert_eq!(manager.run_of("wait-1").record()["conclusion"], "cancelled");
    by(
        manager,
        ALICE,
        &["systemctl", "reset-failed", "nixactions@wait"],
    )
    .ok();

    by(manager, ALICE, &["systemctl", "start", "nixactions@wait"]).ok();
    manager.run_of("wait-2").wait_for_file("a", "started");
    by(manager, ALICE, &["systemctl", "stop", "nixactions-wait-2"]).ok();
    let run = manager.run_of("wait-2").end();
    assert_eq!(run.record["conclusion"], "cancelled", "{run}");
}

fn polkit_allows_operators_nothing_else(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    // From 257 on, systemd asks polkit for a transient unit as for the start of a unit with a file,
    // but for the message. A workflow whose file is gone must give nobody root.
    let file = manager.file("/etc/systemd/system/nixactions@gone.service");
    fs::remove_file(file).expect("it is ours");
    manager.systemctl(&["daemon-reload"]).ok();
    let job = [
        "systemd-run",
        "--unit=nixactions-job-1-test-1",
        "sleep",
        "98741",
    ];
    manager.command(&job).ok();
    for arguments in [
        "systemd-run --unit=nixactions@gone.service touch /run/by-alice",
        "systemctl start nixactions-clean.service",
        "systemctl start nixactions@other.service",
        "systemctl kill nixactions@ci.service",
        "systemctl stop nixactions-clean.timer",
        "systemctl stop nixactions.slice",
        "systemctl start dbus.service",
        "systemctl start xnixactions@ci.service",
        "systemctl set-property --runtime nixactions@ci.service Nice=3",
        "systemctl daemon-reload",
        "systemd-run --unit=nixactions@ci.service touch /run/by-alice",
        "systemd-run --unit=nixactions@other.service touch /run/by-alice",
        "systemd-run --unit=nixactions-ci-7.service touch /run/by-alice",
        "systemctl stop nixactions-job-1-test-1.service",
    ] {
        let argv: Vec<&str> = arguments.split(' ').collect();
        refused(by(manager, ALICE, &argv));
    }
    assert!(!manager.file("/run/by-alice").exists());
    manager.systemctl(&["stop", "nixactions-job-1-test-1"]).ok();
}

fn operators_read_cancel_and_rerun_runs_without_root(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    manager
        .systemctl(&["start", "nixactions-operate.socket"])
        .ok();
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();

    let said = |user: u32, arguments: &[&str]| call(manager, user, arguments).ok();
    let listed = said(ALICE, &["list"]);
    assert!(
        listed.contains("ci-1") && listed.contains("success"),
        "{listed}"
    );
    let runs: serde_json::Value =
        serde_json::from_str(&said(CAROL, &["list", "--json"])).expect("JSON");
    assert_eq!(runs[0]["run"], "ci-1", "{runs:#}");
    assert!(said(CAROL, &["show", "ci-1"]).contains("success"));
    let logs = said(ALICE, &["logs", "ci-1", "a"]);
    assert!(logs.contains("said by root"), "{logs}");

    let again = said(ALICE, &["rerun", "ci-1"]);
    assert!(again.contains("said by alice"), "{again}");
    assert_eq!(manager.run_of("ci-2").record()["actor"], "alice");
    assert_eq!(said(CAROL, &["rerun", "ci-1", "--detach"]).trim(), "ci-3");
    assert_eq!(manager.run_of("ci-3").end().record["actor"], "carol");
    let again = said(ALICE, &["rerun", "-o", "json", "--", "ci-1"]);
    assert!(
        again.lines().all(|line| line.starts_with('{')) && again.contains("ci-4"),
        "{again}"
    );
    let program = manager.program().display().to_string();
    let own = [
        "env",
        "NIXACTIONS_STATE_DIR=/x",
        &program,
        "--system",
        "list",
    ];
    assert!(by(manager, ALICE, &own).ok().contains("ci-4"));

    start_waiting(manager);
    let cancelled = said(ALICE, &["cancel", "wait-1"]);
    assert!(cancelled.contains("wait-1: cancelling"), "{cancelled}");
    let run = manager.run_of("wait-1").end();
    assert_eq!(run.record["conclusion"], "cancelled", "{run}");

    // The exit status is that of the command, and its messages are there.
    let (code, said) = refused(call(manager, ALICE, &["show", "ci-9"]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ci-9"), "{said}");
    let (code, said) = refused(call(manager, ALICE, &["attach", "wait-1"]));
    assert_eq!(code, Some(130), "{said}");
    for (arguments, reason) in [
        (
            &["rerun", "ci-1", "--env", "A=b"][..],
            "operators cannot set `--env`",
        ),
        (
            &["rerun", "ci-1", "--secret-env-file", "/etc/shadow"],
            "operators cannot set `--secret-env-file`",
        ),
        (
            &["clean", "--keep", "0"],
            "`--system` does not go with `nixactions clean`",
        ),
        (
            &["run", "/plan.json"],
            "`--system` does not go with `nixactions run`",
        ),
        (
            &["list", "--state-dir", "/tmp"],
            "operators cannot set `--state-dir`",
        ),
    ] {
        let (code, said) = refused(call(manager, ALICE, arguments));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

fn strangers_are_refused_with_a_reason(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    manager
        .systemctl(&["start", "nixactions-operate.socket"])
        .ok();
    start_waiting(manager);
    for arguments in [
        &["list"][..],
        &["show", "wait-1"],
        &["logs", "wait-1"],
        &["attach", "wait-1"],
        &["cancel", "wait-1"],
        &["rerun", "wait-1"],
    ] {
        let output = call(manager, BOB, arguments).output_within(SOON);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(
            said.contains("user `bob` is not an operator of this machine's workflows")
                && said.contains("services.nixactions.operators"),
            "{said}"
        );
    }
    assert!(!manager.run_of("wait-1").has_ended());
    wait_for(SOON, "the journal", || {
        let log = manager.journal(&["--unit=nixactions-operate@*"]).ok();
        log.contains("user `bob` is not an operator").then_some(())
    });
    manager.nixactions(&["cancel", "wait-1", "--kill"]).ok();
}

fn the_socket_takes_no_commands_of_root(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    manager
        .systemctl(&["start", "nixactions-operate.socket"])
        .ok();
    // Perl is in every Debian.
    const SEND: &str = r#"
        use IO::Socket::UNIX;
        my $socket = IO::Socket::UNIX->new("/run/nixactions-operate.socket") or die $!;
        $socket->print($ARGV[0]);
        print while <$socket>;
    "#;
    let ask = |request: &str| by(manager, ALICE, &["perl", "-e", SEND, request]).ok();
    let good = ask("{\"version\":1,\"arguments\":[\"list\"],\"logFormat\":null}\n");
    assert!(good.ends_with("{\"exit\":0}\n"), "{good}");
    for (arguments, reason) in [
        (
            r#"["run", "/plan.json"]"#,
            "does not go with `nixactions run`",
        ),
        (
            r#"["--state-dir", "/tmp", "list"]"#,
            "operators cannot set `--state-dir`",
        ),
        (
            r#"["list", "--state-dir=/tmp"]"#,
            "operators cannot set `--state-dir`",
        ),
        (r#"["supervise", "/tmp"]"#, "unrecognized subcommand"),
        (
            r#"["rerun", "ci-1", "-eA=b"]"#,
            "operators cannot set `--env`",
        ),
        (
            r#"["rerun", "--images-by", "/bin/true", "x.service", "/x", "ci-1"]"#,
            "operators cannot set `--images-by`",
        ),
    ] {
        let answer = ask(&format!(
            "{{\"version\":1,\"arguments\":{arguments},\"logFormat\":null}}\n"
        ));
        assert!(
            answer.contains(reason) && answer.ends_with("{\"exit\":2}\n"),
            "{answer}"
        );
    }
    for (request, reason) in [
        (
            "{\"version\":2,\"arguments\":[\"list\"],\"logFormat\":null}\n",
            "another version",
        ),
        ("list\n", "did not answer to the end"),
    ] {
        let answer = ask(request);
        assert!(
            answer.contains(reason) && answer.ends_with("{\"exit\":3}\n"),
            "{answer}"
        );
    }
}

fn a_run_goes_on_when_the_operators_command_is_killed(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    manager
        .systemctl(&["start", "nixactions-operate.socket"])
        .ok();
    start_waiting(manager);
    let mut attach = call(manager, ALICE, &["attach", "wait-1"])
        .spawn()
        .expect("it starts");
    let services = || manager.units("nixactions-operate@*.service");
    wait_for(SOON, "its service", || {
        (!services().is_empty()).then_some(())
    });
    attach.kill().expect("it is ours");
    attach.wait().expect("it is ours");
    wait_for(SOON, "its service to end", || {
        services().is_empty().then_some(())
    });
    // Nothing is on its way to cancel it.
    let run = manager.run_of("wait-1");
    run.release("a", "stop");
    let run = run.end();
    assert_eq!(run.record["conclusion"], "success", "{run}");
}

fn a_stranger_cannot_stop_the_socket(manager: &Manager) {
    let _nix = or_skip!(prepare(manager, MODULE));
    manager
        .systemctl(&["start", "nixactions-operate.socket"])
        .ok();
    // More than systemd's limit for two seconds. Those beyond the first are refused at once.
    const KNOCK: &str = r#"
        use IO::Socket::UNIX;
        for (1..400) { push @all, IO::Socket::UNIX->new("/run/nixactions-operate.socket"); }
    "#;
    by(manager, BOB, &["perl", "-e", KNOCK]).ok();
    wait_for(SOON, "an answer to an operator", || {
        let list = call(manager, ALICE, &["list"]).output_within(SOON);
        list.status.success().then_some(())
    });
}

fn a_machine_without_operators_says_so(manager: &Manager) {
    let module = r#"{ services.nixactions = { enable = true; workflows.ci.settings.jobs.a.steps = [ { bash = "true"; } ]; }; }"#;
    let _nix = or_skip!(prepare(manager, module));
    let (code, said) = refused(call(manager, ALICE, &["list"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("the machine has no `/run/nixactions-operate.socket`"),
        "{said}"
    );
    // For root, the option names the directory that is the default.
    manager.nixactions(&["list", "--system"]).ok();
}
