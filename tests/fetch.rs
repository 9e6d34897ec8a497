//! Sources from git: the services of the NixOS module that fetch them before each run, with a real
//! systemd and a real git.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Manager, Nix, RUN_DEADLINE, SOON, Skip, on_managers, or_skip, wait_for,
};
use serde_json::Value;

on_managers!(each_run_has_the_newest_commit on system_257, system_262);
on_managers!(a_run_has_the_branch_tag_or_commit_that_is_asked_for on system_262);
on_managers!(an_unreachable_source_fails_the_service_and_the_next_run_succeeds on system_257, system_262);
on_managers!(a_damaged_checkout_is_fetched_anew on system_262);
on_managers!(submodules_are_there_if_asked_for on system_262);
on_managers!(a_password_reaches_its_host_and_no_job on system_262);
on_managers!(a_key_reaches_ssh_and_no_job on system_262);
on_managers!(stopping_the_service_stops_the_fetch on system_262);

/// Makes a machine with a repository at /srv/origin.
fn prepare(manager: &Manager) -> Result<Nix<'_>, Skip> {
    let nix = manager.nix()?;
    // NixOS would make the user.
    sh(
        manager,
        "useradd --system nixactions-fetch
         git init --quiet --initial-branch=main /srv/origin && cd /srv/origin
         git config user.name t && git config user.email t@t
         echo first >file && mkdir sub && echo ignored >.gitignore && git add . && git commit --quiet -m first",
    );
    Ok(nix)
}

fn sh(manager: &Manager, script: &str) -> String {
    let script = format!("set -e; export HOME=/root; {script}");
    manager.command(&["bash", "-c", &script]).ok()
}

/// Returns a module whose workflow `ci` prints a file of this source.
fn module(source: &str, more: &str) -> String {
    format!(
        r#"({{ pkgs, ... }}: {{ services.nixactions = {{ enable = true; workflows.ci = {{
            source.git = {{ {source} }};
            settings.jobs.a.steps = [ {{ bash = "echo \"file: $(cat file)\"; find . -name .git -prune -o -type f -print; find /run /var/lib/nixactions-fetch -name password -o -name ssh-key 2>/dev/null || true"; }} ];
        }}; }}; {more} }})"#
    )
}

fn start(manager: &Manager) -> std::process::Command {
    manager.systemctl(&["start", "--wait", "nixactions@ci"])
}

fn record(manager: &Manager, run: &str) -> Value {
    let record = manager.run_of(run).record();
    assert_eq!(record["conclusion"], "success", "{record:#}");
    record
}

fn logs(manager: &Manager, run: &str) -> String {
    manager.nixactions(&["logs", run]).ok()
}

fn status(manager: &Manager) -> String {
    let output = manager
        .systemctl(&["status", "--full", "nixactions@ci"])
        .output_within(SOON);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn commit(manager: &Manager, text: &str) -> String {
    let script = format!(
        "cd /srv/origin; echo {text} >file; git commit --quiet -am {text}; git rev-parse HEAD"
    );
    sh(manager, &script).trim().to_owned()
}

fn each_run_has_the_newest_commit(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    let first = record(manager, "ci-1");
    assert_eq!(
        (&first["repository"], &first["ref"]),
        (&"/srv/origin".into(), &"refs/heads/main".into()),
        "{first:#}"
    );
    assert!(logs(manager, "ci-1").contains("file: first"));

    let tree = "/var/lib/nixactions-fetch/ci/tree";
    sh(
        manager,
        &format!("cd {tree}; touch left ignored; echo changed >file"),
    );
    let second = commit(manager, "second");
    start(manager).ok();
    assert_eq!(record(manager, "ci-2")["commit"], *second);
    let logs = logs(manager, "ci-2");
    assert!(logs.contains("file: second"), "{logs}");
    assert!(
        !logs.contains("left") && !logs.contains("./ignored"),
        "{logs}"
    );
    // No other user reads the checkout.
    let mode = sh(
        manager,
        &format!("stat --format=%U:%a {}", tree.trim_end_matches("/tree")),
    );
    assert_eq!(mode.trim(), "nixactions-fetch:700");

    // A history that was rewritten is not in the way.
    let third = sh(
        manager,
        "cd /srv/origin; echo third >file; git commit --quiet --amend -am third; git rev-parse HEAD",
    );
    start(manager).ok();
    assert_eq!(record(manager, "ci-3")["commit"], *third.trim());
}

fn a_run_has_the_branch_tag_or_commit_that_is_asked_for(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    let first = sh(
        manager,
        "cd /srv/origin; git rev-parse HEAD; git tag -a -m v1 v1; git checkout --quiet -b side/way",
    );
    let second = commit(manager, "second");
    sh(manager, "cd /srv/origin; git checkout --quiet main");
    commit(manager, "third");
    for (number, (git_ref, expected)) in [
        ("v1", first.trim()),
        ("side/way", &second),
        (first.trim(), first.trim()),
    ]
    .iter()
    .enumerate()
    {
        nix.install(&module(
            &format!(r#"url = "/srv/origin"; ref = "{git_ref}";"#),
            "",
        ));
        start(manager).ok();
        let record = record(manager, &format!("ci-{}", number + 1));
        assert_eq!(record["commit"], **expected, "{git_ref}");
    }
    nix.install(&module(r#"url = "/srv/origin"; ref = "gone";"#, ""));
    start(manager).fails();
    let status = status(manager);
    assert!(
        status.contains("there is no branch, tag or commit `gone` in `/srv/origin`"),
        "{status}"
    );
}

fn an_unreachable_source_fails_the_service_and_the_next_run_succeeds(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    nix.install(&module(
        r#"url = "/srv/origin";"#,
        r#"services.nixactions.workflows.ci.schedule = "*:*:0/2"; systemd.timers."nixactions@ci".timerConfig.AccuracySec = "100ms";"#,
    ));
    sh(manager, "mv /srv/origin /srv/away");
    start(manager).fails();
    let status = status(manager);
    assert!(
        status.contains("failed to fetch the source; nixactions-fetch@ci.service says:")
            && status.contains("'/srv/origin' does not appear to be a git repository"),
        "{status}"
    );
    assert!(manager.runs().is_empty(), "no run was started");

    sh(manager, "mv /srv/away /srv/origin");
    manager.systemctl(&["start", "nixactions@ci.timer"]).ok();
    wait_for(RUN_DEADLINE, "a run by the timer", || {
        let run = manager.run_of("ci-1");
        run.has_ended().then_some(())
    });
    manager.systemctl(&["stop", "nixactions@ci.timer"]).ok();
    assert_eq!(record(manager, "ci-1")["trigger"], "schedule");
}

fn a_damaged_checkout_is_fetched_anew(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    sh(
        manager,
        "cd /var/lib/nixactions-fetch/ci/tree/.git; find objects -type f -exec truncate --size=0 {} +; touch index.lock",
    );
    commit(manager, "second");
    start(manager).ok();
    record(manager, "ci-2");
    assert!(logs(manager, "ci-2").contains("file: second"));
}

fn submodules_are_there_if_asked_for(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    sh(
        manager,
        "git clone --quiet --bare /srv/origin /srv/part; touch /srv/part/git-daemon-export-ok
         ip link set lo up
         systemd-run --quiet --unit=git-daemon git daemon --base-path=/srv --reuseaddr
         until git ls-remote git://127.0.0.1/part >/dev/null 2>&1; do sleep 0.1; done
         cd /srv/origin; git submodule --quiet add git://127.0.0.1/part part; git commit --quiet -m part",
    );
    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    record(manager, "ci-1");
    assert!(!logs(manager, "ci-1").contains("./part/file"));
    nix.install(&module(r#"url = "/srv/origin"; submodules = true;"#, ""));
    start(manager).ok();
    record(manager, "ci-2");
    let logs = logs(manager, "ci-2");
    assert!(logs.contains("./part/file"), "{logs}");
}

/// Files below /srv over HTTP, for `git:the word` alone. Perl is in every Debian.
const SERVER: &str = r#"
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die;
$SIG{CHLD} = "IGNORE";
while (my $client = $server->accept) {
    next if fork;
    my ($path, $allowed) = ("", 0);
    while (<$client>) {
        $path = $1 if m|^GET /([^ ?]*)|;
        $allowed = 1 if m|^Authorization: Basic Z2l0OnRoZSB3b3Jk\r|;
        last if /^\r/;
    }
    my $head = "Connection: close\r\n\r\n";
    if (!$allowed) { print $client "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"t\"\r\n$head"; }
    elsif (open(my $file, "<", "/srv/$path") && -f "/srv/$path") { local $/; print $client "HTTP/1.1 200 OK\r\n$head", <$file>; }
    else { print $client "HTTP/1.1 404 No\r\n$head"; }
    exit;
}
"#;

fn a_password_reaches_its_host_and_no_job(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    let server = manager.write("/srv/server.pl", SERVER);
    sh(
        manager,
        &format!(
            "git clone --quiet --bare /srv/origin /srv/bare; git -C /srv/bare update-server-info
             ip link set lo up
             systemd-run --quiet --unit=server perl {}
             install --mode=600 /dev/null /etc/word; echo 'the word' >/etc/word; echo wrong >/etc/other",
            server.display()
        ),
    );
    let with = |file: &str| {
        module(
            &format!(r#"url = "http://127.0.0.1:8080/bare"; passwordFile = "{file}";"#),
            "",
        )
    };
    nix.install(&with("/etc/other"));
    start(manager).fails();
    let said = status(manager);
    assert!(said.contains("Authentication failed"), "{said}");
    nix.install(&with("/etc/word"));
    start(manager).ok();
    record(manager, "ci-1");
    let logs = logs(manager, "ci-1");
    assert!(
        logs.contains("file: first") && !logs.contains("password"),
        "{logs}"
    );
    let units = manager
        .systemctl(&["show", "nixactions-fetch@ci", "nixactions@ci"])
        .ok();
    let tree = sh(manager, "cat /var/lib/nixactions-fetch/ci/tree/.git/config");
    assert!(!(units + &tree).contains("the word"));
}

fn a_key_reaches_ssh_and_no_job(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    manager.write("/etc/deploy-key", "the key\n");
    // A stand-in for ssh, as the machine has none: it runs the command here.
    let ssh = r#"systemd.services."nixactions-fetch@ci".path = [ (pkgs.runCommand "ssh" { } ''
        mkdir -p $out/bin
        printf '%s\n' '#!/bin/bash' 'while [ $# -gt 1 ]; do [ "$1" != -i ] || key=$2; [ "$1" != BatchMode=yes ] || quiet=1; shift; done' \
            '[ "$(cat "$key")" = "the key" ] && [ -n "$quiet" ] && eval "$1"' > $out/bin/ssh
        chmod +x $out/bin/ssh
    '') ];"#;
    nix.install(&module(
        r#"url = "git@example.org:/srv/origin"; sshKeyFile = "/etc/deploy-key";"#,
        ssh,
    ));
    start(manager).ok();
    let record = record(manager, "ci-1");
    assert_eq!(record["repository"], "git@example.org:/srv/origin");
    let logs = logs(manager, "ci-1");
    assert!(
        logs.contains("file: first") && !logs.contains("ssh-key"),
        "{logs}"
    );
}

fn stopping_the_service_stops_the_fetch(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    let silent = r#"use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8081, Listen => 9) or die; sleep 600;"#;
    let silent = manager.write("/srv/silent.pl", silent);
    sh(
        manager,
        &format!(
            "ip link set lo up; systemd-run --quiet --unit=silent perl {}; sleep 0.3",
            silent.display()
        ),
    );
    nix.install(&module(r#"url = "git://127.0.0.1:8081/a";"#, ""));
    manager
        .systemctl(&["start", "--no-block", "nixactions@ci"])
        .ok();
    let state = |unit: &str| {
        let shown = manager
            .systemctl(&["show", "--value", "--property=ActiveState", unit])
            .ok();
        shown.trim().to_owned()
    };
    wait_for(SOON, "the fetch", || {
        (state("nixactions-fetch@ci") == "activating").then_some(())
    });
    manager.systemctl(&["stop", "nixactions@ci"]).ok();
    wait_for(SOON, "the end of the fetch", || {
        (state("nixactions-fetch@ci") != "activating").then_some(())
    });
    assert!(fs::read_dir(manager.file("/var/lib/nixactions/runs")).map_or(0, Iterator::count) == 0);
}
