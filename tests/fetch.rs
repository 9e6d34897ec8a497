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
on_managers!(a_name_that_the_remote_does_not_have_is_refused on system_262);
on_managers!(a_branch_may_become_the_directory_of_another on system_262);
on_managers!(a_fetch_that_was_killed_is_no_obstacle on system_262);
on_managers!(maintenance_ends_before_the_fetch on system_262);
on_managers!(submodules_are_there_if_asked_for on system_262);
on_managers!(a_password_reaches_its_host_and_no_job on system_262);
on_managers!(a_key_reaches_ssh_and_no_job on system_262);
on_managers!(stopping_the_service_stops_the_fetch on system_262);
on_managers!(a_fetch_that_does_not_begin_says_why on system_257, system_262);
on_managers!(a_start_does_not_take_the_fetch_of_an_earlier_one on system_257, system_262);
on_managers!(a_fetch_that_takes_too_long_says_so on system_257, system_262);

/// The checkout.
const TREE: &str = "/var/lib/nixactions-fetch/ci/tree";

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
            settings.jobs.a.steps = [ {{ bash = "echo \"file: $(cat file)\"; find . -name .git -prune -o -type f -print; env"; }} ];
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

    sh(
        manager,
        &format!("cd {TREE}; touch left ignored; echo changed >file"),
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
        &format!("stat --format=%U:%a {}", TREE.trim_end_matches("/tree")),
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
    fails_for(
        manager,
        "there is no branch, tag or commit `gone` in `/srv/origin`",
    );
}

/// Starts the workflow, which fails, and tells why in its status.
fn fails_for(manager: &Manager, why: &str) {
    start(manager).fails();
    let status = status(manager);
    assert!(status.contains(why), "{status}");
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
        status.contains(
            "failed to fetch `/srv/origin` (exit-code); nixactions-fetch@ci.service says:"
        ) && status.contains("'/srv/origin' does not appear to be a git repository"),
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
        &format!(
            "cd {TREE}/.git; find objects -type f -exec truncate --size=0 {{}} +; touch index.lock"
        ),
    );
    commit(manager, "second");
    start(manager).ok();
    record(manager, "ci-2");
    assert!(logs(manager, "ci-2").contains("file: second"));
}

/// Installs a workflow that asks for a branch, tag or commit.
fn install_ref(nix: &Nix<'_>, git_ref: &str) {
    let source = format!(r#"url = "/srv/origin"; ref = "{git_ref}";"#);
    nix.install(&module(&source, ""));
}

fn a_name_that_the_remote_does_not_have_is_refused(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    sh(manager, "cd /srv/origin; git branch side; git tag mark");
    for (run, git_ref) in [("ci-1", "side"), ("ci-2", "mark")] {
        install_ref(&nix, git_ref);
        start(manager).ok();
        record(manager, run);
    }
    // The names of the checkout are not those of the remote.
    sh(
        manager,
        "cd /srv/origin; git branch -D side; git tag -d mark",
    );
    for git_ref in [
        "side",
        "mark",
        "HEAD",
        "FETCH_HEAD",
        "ORIG_HEAD",
        "origin/main",
    ] {
        install_ref(&nix, git_ref);
        // These starts are closer together than a schedule's.
        manager.systemctl(&["reset-failed"]).ok();
        start(manager).fails();
        let status = status(manager);
        let expected = format!("there is no branch, tag or commit `{git_ref}` in `/srv/origin`");
        assert!(status.contains(&expected), "{git_ref}: {status}");
    }

    // The commits of another repository are not those of this one.
    let first = sh(
        manager,
        "git -C /srv/origin rev-parse HEAD; git init --quiet /srv/other
         cd /srv/other; git -c user.name=t -c user.email=t@t commit --quiet --allow-empty -m o",
    );
    nix.install(&module(
        &format!(r#"url = "/srv/other"; ref = "{}";"#, first.trim()),
        "",
    ));
    manager.systemctl(&["reset-failed"]).ok();
    start(manager).fails();
    let status = status(manager);
    assert!(status.contains(" in `/srv/other`"), "{status}");
    assert_eq!(manager.runs().len(), 2);
}

fn a_branch_may_become_the_directory_of_another(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    sh(manager, "cd /srv/origin; git branch side");
    install_ref(&nix, "side");
    start(manager).ok();
    for (run, from, to) in [("ci-2", "side", "side/way"), ("ci-3", "side/way", "side")] {
        let rename = format!("cd /srv/origin; git branch -D {from}; git branch {to}");
        sh(manager, &rename);
        install_ref(&nix, to);
        start(manager).ok();
        assert_eq!(record(manager, run)["ref"], format!("refs/heads/{to}"));
    }
}

fn a_fetch_that_was_killed_is_no_obstacle(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    let damages = [
        "touch refs/remotes/origin/main.lock",
        "touch HEAD.lock",
        "touch packed-refs.lock",
        "truncate --size=0 index",
        "truncate --size=0 HEAD",
        "truncate --size=0 config",
        "truncate --size=0 refs/heads/main refs/remotes/origin/main",
    ];
    for (number, damage) in damages.iter().enumerate() {
        let newest = commit(manager, &format!("after-{number}"));
        sh(manager, &format!("cd {TREE}/.git; {damage}"));
        start(manager).ok();
        let record = record(manager, &format!("ci-{}", number + 2));
        assert_eq!(record["commit"], *newest, "{damage}");
    }

    // Another repository than before.
    sh(
        manager,
        &format!("git clone --quiet /srv/origin /srv/other; touch {TREE}/.git/config.lock"),
    );
    let other = sh(
        manager,
        "cd /srv/other; git -c user.name=t -c user.email=t@t commit --quiet --allow-empty -m o; git rev-parse HEAD",
    );
    nix.install(&module(r#"url = "/srv/other";"#, ""));
    start(manager).ok();
    let record = record(manager, &format!("ci-{}", damages.len() + 2));
    assert_eq!(
        (&record["repository"], &record["commit"]),
        (&"/srv/other".into(), &other.trim().into()),
    );

    // A sound checkout outlives a remote that does not answer.
    let inode = || sh(manager, &format!("stat --format=%i {TREE}"));
    let before = inode();
    sh(manager, "mv /srv/other /srv/away");
    start(manager).fails();
    assert_eq!(inode(), before);
}

fn maintenance_ends_before_the_fetch(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    let trace = "/var/lib/nixactions-fetch/ci/trace";
    nix.install(&module(
        r#"url = "/srv/origin";"#,
        &format!(r#"systemd.services."nixactions-fetch@ci".environment.GIT_TRACE2 = "{trace}";"#),
    ));
    start(manager).ok();
    let maintained = sh(manager, &format!("grep 'maintenance run' {trace}"));
    assert!(maintained.contains("--no-detach"), "{maintained}");
}

fn submodules_are_there_if_asked_for(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    sh(
        manager,
        "git clone --quiet --bare /srv/origin /srv/part; touch /srv/part/git-daemon-export-ok
         ip link set lo up
         systemd-run --quiet --unit=git-daemon git daemon --base-path=/srv --reuseaddr",
    );
    wait_for(SOON, "the server", || {
        let list = ["git", "ls-remote", "git://127.0.0.1/part"];
        let output = manager.command(&list).output_within(SOON);
        output.status.success().then_some(())
    });
    sh(
        manager,
        "cd /srv/origin; git submodule --quiet add git://127.0.0.1/part part; git commit --quiet -m part",
    );
    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    record(manager, "ci-1");
    assert!(!logs(manager, "ci-1").contains("./part/file"));
    nix.install(&module(r#"url = "/srv/origin"; submodules = true;"#, ""));
    start(manager).ok();
    record(manager, "ci-2");
    assert!(logs(manager, "ci-2").contains("./part/file"));

    // A damaged submodule is fetched anew.
    sh(
        manager,
        &format!("cd {TREE}/.git/modules/part; truncate --size=0 index HEAD; touch config.lock"),
    );
    start(manager).ok();
    record(manager, "ci-3");
    assert!(logs(manager, "ci-3").contains("./part/file"));

    // A submodule that is there no longer is forgotten.
    sh(
        manager,
        "cd /srv/origin; git rm --quiet part
         git submodule --quiet add git://127.0.0.1/part way/part; git commit --quiet -m moved",
    );
    start(manager).ok();
    record(manager, "ci-4");
    let moved = logs(manager, "ci-4");
    assert!(
        moved.contains("./way/part/file") && !moved.contains("./part/file"),
        "{moved}"
    );
    let kept = sh(manager, &format!("cd {TREE}/.git; ls modules; cat config"));
    assert!(
        kept.starts_with("way\n") && !kept.contains("[submodule \"part\"]"),
        "{kept}"
    );

    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    record(manager, "ci-5");
    assert!(!logs(manager, "ci-5").contains("/part/file"));
    assert!(!manager.file(format!("{TREE}/.git/modules")).exists());
}

/// Files below /srv over HTTP, for `git:the word` alone, and those below /srv/bot for `bot:the
/// word`. Perl is in every Debian.
const SERVER: &str = r#"
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die;
$SIG{CHLD} = "IGNORE";
while (my $client = $server->accept) {
    next if fork;
    my ($path, $allowed) = ("", 0);
    while (<$client>) {
        $path = $1 if m|^GET /([^ ?]*)|;
        my $word = $path =~ /^bot/ ? "Ym90OnRoZSB3b3Jk" : "Z2l0OnRoZSB3b3Jk";
        $allowed = 1 if $_ eq "Authorization: Basic $word\r\n";
        last if /^\r/;
    }
    my $head = "Connection: close\r\n\r\n";
    if (!$allowed) { print $client "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"t\"\r\n$head"; }
    elsif (open(my $file, "<", "/srv/$path") && -f "/srv/$path") { local $/; print $client "HTTP/1.1 200 OK\r\n$head", <$file>; }
    else { print $client "HTTP/1.1 404 No\r\n$head"; }
    exit;
}
"#;

/// Returns the files that have a text after the first run: of the runs, the checkout, the journal,
/// the units, and the programs that are still there. The job printed its variables.
fn holders(manager: &Manager, text: &str) -> String {
    let logs = logs(manager, "ci-1");
    assert!(
        logs.contains("file: first") && logs.contains("HOME="),
        "{logs}"
    );
    let script = format!(
        "systemctl show --all 'nixactions*' >/run/shown
         grep --recursive --devices=skip --exclude-dir=host --files-with-matches --fixed-strings '{text}' \
             /etc /run /var/lib/nixactions* /var/log 2>/dev/null || true"
    );
    sh(manager, &script).trim().to_owned()
}

fn a_password_reaches_its_host_and_no_job(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    let server = manager.write("/srv/server.pl", SERVER);
    sh(
        manager,
        &format!(
            "git clone --quiet --bare /srv/origin /srv/bare; git -C /srv/bare update-server-info; ln -s bare /srv/bot
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
    assert_eq!(holders(manager, "the word"), "/etc/word");

    nix.install(&module(
        r#"url = "http://127.0.0.1:8080/bot"; username = "bot"; passwordFile = "/etc/word";"#,
        "",
    ));
    start(manager).ok();
    record(manager, "ci-2");
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
    assert_eq!(holders(manager, "the key"), "/etc/deploy-key");
}

/// Starts a server at port 8081 that accepts connections, and never says a word.
fn silent_server(manager: &Manager) {
    let silent = r#"use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8081, Listen => 9) or die; `systemd-notify --ready`; sleep 600;"#;
    let silent = manager.write("/srv/silent.pl", silent);
    let serve = format!(
        "ip link set lo up
         systemd-run --quiet --unit=silent --property=Type=notify --property=NotifyAccess=all perl {}",
        silent.display()
    );
    sh(manager, &serve);
}

/// Returns the lines of the workflow's service.
fn said(manager: &Manager) -> String {
    manager
        .journal(&["--unit=nixactions@ci", "--output=cat"])
        .ok()
}

fn a_fetch_that_does_not_begin_says_why(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    nix.install(&module(
        r#"url = "http://127.0.0.1:8080/bare"; passwordFile = "/etc/not-there";"#,
        "",
    ));
    start(manager).fails();
    let said = said(manager);
    assert!(
        said.contains("failed to fetch `http://127.0.0.1:8080/bare` (exit-code)")
            && said.contains("nixactions-fetch@ci.service: Failed to set up credentials"),
        "{said}"
    );

    // One that was not started has not said the words of an earlier one.
    let unit = "/etc/systemd/system/nixactions-fetch@ci.service";
    fs::remove_file(manager.file(unit)).expect("it is ours");
    manager.systemctl(&["daemon-reload"]).ok();
    fails_for(manager, "Unit nixactions-fetch@ci.service not found");
}

fn a_start_does_not_take_the_fetch_of_an_earlier_one(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    silent_server(manager);
    nix.install(&module(r#"url = "git://127.0.0.1:8081/a";"#, ""));
    manager
        .systemctl(&["start", "--no-block", "nixactions@ci"])
        .ok();
    wait_for(SOON, "the fetch", || {
        (state(manager, "nixactions-fetch@ci") == "activating").then_some(())
    });
    manager
        .systemctl(&["kill", "--signal=KILL", "nixactions@ci"])
        .ok();
    wait_for(SOON, "the end of the service", || {
        (state(manager, "nixactions@ci") == "failed").then_some(())
    });
    assert_eq!(state(manager, "nixactions-fetch@ci"), "activating");
    nix.install(&module(r#"url = "/srv/origin";"#, ""));
    start(manager).ok();
    record(manager, "ci-1");
}

fn state(manager: &Manager, unit: &str) -> String {
    let shown = manager
        .systemctl(&["show", "--value", "--property=ActiveState", unit])
        .ok();
    shown.trim().to_owned()
}

fn a_fetch_that_takes_too_long_says_so(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    silent_server(manager);
    nix.install(&module(
        r#"url = "git://127.0.0.1:8081/a";"#,
        r#"systemd.services."nixactions-fetch@ci".serviceConfig.TimeoutStartSec = "2s";"#,
    ));
    start(manager).fails();
    let said = said(manager);
    assert!(
        said.contains("failed to fetch `git://127.0.0.1:8081/a` (timeout)")
            && said.contains("nixactions-fetch@ci.service: start operation timed out"),
        "{said}"
    );
}

fn stopping_the_service_stops_the_fetch(manager: &Manager) {
    let nix = or_skip!(prepare(manager));
    silent_server(manager);
    nix.install(&module(r#"url = "git://127.0.0.1:8081/a";"#, ""));
    manager
        .systemctl(&["start", "--no-block", "nixactions@ci"])
        .ok();
    wait_for(SOON, "the fetch", || {
        (state(manager, "nixactions-fetch@ci") == "activating").then_some(())
    });
    manager.systemctl(&["stop", "nixactions@ci"]).ok();
    wait_for(SOON, "the end of the fetch", || {
        (state(manager, "nixactions-fetch@ci") != "activating").then_some(())
    });
    assert!(fs::read_dir(manager.file("/var/lib/nixactions/runs")).map_or(0, Iterator::count) == 0);
}
