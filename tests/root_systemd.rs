//! Jobs with a root file system of their own, under a plain unit: what they see, what they may
//! change, and what is left of it.

use std::{fs, process::Command};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, SOON, Signal, Skip, bash, on_managers, or_skip,
    wait_for, with,
};
use serde_json::{Value, json};

on_managers!(a_job_in_a_root_lives_as_on_the_host on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(a_job_in_a_root_sees_nothing_of_the_host on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(changes_to_a_root_end_with_the_job on embedded, system_252, system_257, system_262);
on_managers!(bound_files_are_visible on embedded, system_252, system_262);
on_managers!(scripts_run_without_bash on system_252, system_262);
on_managers!(nothing_stays_mounted_however_the_job_ends on system_252, system_257, system_262);
on_managers!(a_runner_in_a_root_that_is_killed_is_followed_by_another on system_252, system_257, system_262);
on_managers!(a_large_source_is_mounted_in_a_root on system_252, system_262);
on_managers!(a_root_that_cannot_be_used_is_refused on system_252, system_262);
on_managers!(a_users_manager_refuses_roots on user_262);
on_managers!(a_root_that_cannot_be_mounted_is_the_reason on system_252, system_257, system_262);
on_managers!(an_empty_root_has_the_store on system_252, system_262);
on_managers!(capabilities_hold_in_the_job_alone on system_252, system_257, system_262);
on_managers!(a_private_network_is_loopback_alone on system_252, system_262);

on_managers!(a_root_of_links_into_the_store_has_its_users_and_hosts on system_252, system_257, system_262);
on_managers!(a_bind_leads_through_no_link_of_another_user on embedded, system_252, system_262);
on_managers!(mounts_of_the_host_below_a_bind_stay on system_252, system_257, system_262);
on_managers!(roots_and_binds_may_lie_in_temporary_directories on embedded);

const NONE: [&str; 0] = [];

/// Returns a plan of these jobs, which run in the image.
fn plan(manager: &Manager, executor: Value, jobs: Value) -> Result<Value, Skip> {
    let root = json!({ "type": "systemd", "root": manager.image()? });
    let mut plan = json!({
        "version": 1, "name": "rooted", "executors": { "box": with(root, executor) }, "jobs": jobs
    });
    for job in plan["jobs"].as_object_mut().into_iter().flatten() {
        job.1["executor"] = json!("box");
    }
    Ok(plan)
}

/// Returns a command that asks the manager itself.
fn inside(manager: &Manager, argv: &[&str]) -> Command {
    let of_host = manager.kind() == Kind::Embedded;
    let private = manager.private_managers();
    match private.last().filter(|_| of_host) {
        None => manager.command(argv),
        Some(pid) => {
            let mut command = Command::new("nsenter");
            let pid = pid.to_string();
            command.args(["--target", &pid, "--all"]).args(argv);
            command
        }
    }
}

fn has_no_leak(finished: &Finished, job: &str) {
    let leaks: Vec<_> = finished
        .lines(job)
        .into_iter()
        .filter(|line| line.contains("LEAK"))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

fn a_job_in_a_root_lives_as_on_the_host(manager: &Manager) {
    let credential = manager.write("token", "hunter2alpha");
    let provider = manager.write_executable("provider", "#!/bin/sh\necho 'export FROM=provider'\n");
    let source = manager.write("source/file", "of the source");
    let build = bash(
        "set -u
        echo home=$HOME; echo workspace=$PWD; echo user=$(id -un); echo shell=$SHELL; echo group=$(id -gn)
        [ $(id -u) != 0 ]; [ \"$(getent passwd $(id -u) | cut -d: -f6)\" = $HOME ]
        [ $PWD = $NIXACTIONS_WORKSPACE ]; [ -w $HOME ]; [ \"$(cat file)\" = 'of the source' ]
        echo lang=$LANG; echo from=$FROM; echo over=$OVER
        [ \"$(cat $CREDENTIALS_DIRECTORY/token)\" = hunter2alpha ]
        echo '::add-mask::swordfish'; echo swordfish; echo to stderr >&2
        mkdir dist; echo artifact >dist/a; echo 'key=value' >>$NIXACTIONS_OUTPUT; echo 'LATER=yes' >>$NIXACTIONS_ENV
        echo '# summary' >>$NIXACTIONS_SUMMARY",
    );
    let mut build = with(
        build,
        json!({
            "credentials": { "token": credential }, "envFrom": [[provider]], "env": { "OVER": "job" },
            "outputs": { "dist": "dist" }
        }),
    );
    let steps = build["steps"].as_array_mut().expect("it has steps");
    steps.push(
        json!({ "bash": "[ $LATER = yes ]; exit 3", "name": "three", "continueOnError": true }),
    );
    steps.push(json!({ "run": ["sh", "-c", "exit 0"], "name": "argv" }));
    let test = with(
        bash(
            "[ $NEEDS_BUILD_RESULT = success ]; echo key=$NEEDS_BUILD_KEY; cat dist/a; jobs=/run/nixactions/jobs; [ ! -e $jobs/build/work ]",
        ),
        json!({ "needs": ["build"], "inputs": ["dist"] }),
    );
    let executor = json!({
        "env": { "LANG": "of.executor", "OVER": "executor" },
        "bind": [{ "source": provider, "readOnly": true }],
    });
    let plan = or_skip!(plan(
        manager,
        executor,
        json!({ "build": build, "test": test })
    ));
    let source = source.parent().expect("it has one").display().to_string();
    let finished = manager.run(&plan, &["--source", &source]).exits(0);
    let value = |name: &str| finished.value("build", name).to_owned();
    assert_eq!(value("home"), "/run/nixactions/job/work/home");
    assert_eq!(value("workspace"), "/run/nixactions/job/work/workspace");
    assert!(
        value("user").starts_with("nixactions-"),
        "{}",
        value("user")
    );
    assert_eq!(value("shell"), "/usr/bin/bash");
    assert_eq!(value("lang"), "of.executor");
    assert_eq!(value("from"), "***", "what a provider tells is masked");
    assert_eq!(value("over"), "job");
    let lines = finished.lines("build");
    assert!(
        lines.contains(&"***") && lines.contains(&"to stderr"),
        "{lines:?}"
    );
    assert_eq!(finished.steps("build").len(), 3);
    assert_eq!(finished.job("build")["steps"][1]["exitCode"], 3);
    assert_eq!(finished.job("build")["outputs"]["key"], "value");
    assert!(finished.lines("test").contains(&"artifact"));
    assert_eq!(finished.value("test", "key"), "value");
    finished.leaves_nothing(manager);
    is_unmounted(manager);
}

fn a_job_in_a_root_sees_nothing_of_the_host(manager: &Manager) {
    manager.write("secret", "the host's");
    let secret = manager.dir().join("secret").display().to_string();
    let state = manager.state_dir().display().to_string();
    let probe = format!(
        "set +eo pipefail; leak() {{ echo LEAK $*; }}
        for path in {secret} {state} /run/systemd/private /run/dbus /run/userdb /run/user /run/systemd/notify.host /srv/work /srv/image; do
            [ ! -e $path ] || [ -z \"$(ls -A $path)\" ] || leak $path; done
        find /run -type s ! -path /run/systemd/journal/socket ! -path /run/systemd/notify | while read -r socket; do leak $socket; done
        ls -A /run /run/systemd | grep -vxE '/run:|/run/systemd:|systemd|nixactions|credentials|host|journal|notify|propagate|incoming|.os-release-stage|inaccessible|mount-rootfs|' | while read -r x; do leak in /run: $x; done
        for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline | grep -E 'dbus|journald|supervise' && leak process $process; done
        env | grep -E '^(INVOCATION_ID|NOTIFY_SOCKET|LISTEN_|JOURNAL_STREAM|container)' | grep -vE '^(INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET)=' && leak environment
        [ ! -b /dev/sda ] || leak /dev; ls -A /home | grep -v tester | while read -r home; do leak home $home; done
        mount -t tmpfs none /mnt 2>/dev/null && leak mount
        chroot / true 2>/dev/null && leak chroot
        mknod /null c 1 3 2>/dev/null && leak mknod
        [ \"$(findmnt --noheadings --output OPTIONS --target /usr | grep -cw nosuid)\" = 1 ] || leak setuid
        true"
    );
    let jobs = json!({ "j": bash(&probe) });
    let plan = or_skip!(plan(manager, json!({}), jobs));
    let finished = manager.run(&plan, &NONE).exits(0);
    has_no_leak(&finished, "j");
}

/// Returns a digest of names, modes, owners, sizes and times below the image.
fn digest(manager: &Manager) -> String {
    let image = manager.image().expect("it was there").display().to_string();
    let script = "cd $1 && find etc usr/bin var/lib . -xdev -maxdepth 2 -printf '%p %m %U %G %s %T@ %C@\\n' | LC_ALL=C sort | sha256sum";
    manager
        .command(&["sh", "-c", script, "digest", &image])
        .ok()
}

fn changes_to_a_root_end_with_the_job(manager: &Manager) {
    let image = or_skip!(manager.image());
    let change = "echo mine >/etc/mine; rm /usr/bin/env; mv /usr/share /usr/elsewhere; chmod 700 /etc; echo '#' >>/etc/fstab
        touch /srv/x /var/lib/x; mkdir /new; ls /etc/mine /new; [ ! -e /usr/bin/env ]; stat -c %u /etc/mine /usr/bin";
    let look = "[ ! -e /etc/mine ]; [ ! -e /new ]; [ -x /usr/bin/env ]; [ -d /usr/share ]";
    let jobs =
        json!({ "change": bash(change), "look": with(bash(look), json!({ "needs": ["change"] })) });
    let plan = or_skip!(plan(manager, json!({}), jobs));
    let before = digest(manager);
    manager.run(&plan, &NONE).exits(0).leaves_nothing(manager);
    assert_eq!(digest(manager), before, "`{}` has changed", image.display());
    is_unmounted(manager);
}

fn bound_files_are_visible(manager: &Manager) {
    let open = manager.open_directory("open");
    manager.write("readable/file", "read me");
    let readable = manager.dir().join("readable");
    let executor = json!({ "bind": [
        { "source": open, "target": "/deep/er/open" },
        { "source": readable, "target": "/etc/readable", "readOnly": true },
        { "source": readable.join("file"), "target": "/etc/hostname", "readOnly": true },
    ] });
    let script = "echo written >/deep/er/open/file; [ \"$(cat /etc/readable/file)\" = 'read me' ]
        if echo x 2>/dev/null >/etc/readable/x; then exit 9; fi; if echo x 2>/dev/null >/etc/readable/file; then exit 8; fi
        [ \"$(cat /etc/hostname)\" = 'read me' ]; cp /usr/bin/id /deep/er/open/id; chmod 4755 /deep/er/open/id
        findmnt --noheadings --output OPTIONS --target /deep/er/open | grep -w nosuid";
    let plan = or_skip!(plan(manager, executor, json!({ "j": bash(script) })));
    manager.run(&plan, &NONE).exits(0);
    let written = fs::read_to_string(manager.file(open.join("file"))).expect("it was written");
    assert_eq!(written, "written\n");
    is_unmounted(manager);
}

/// As Nix makes it of several packages: a directory of one package only is a link to it.
fn a_root_of_links_into_the_store_has_its_users_and_hosts(manager: &Manager) {
    let make = "store=/nix/store; mkdir -p $store $1; mount -t tmpfs -o mode=755 tmpfs $store; mount -t tmpfs -o mode=755 tmpfs $1
        mkdir -p $store/tools/bin $store/conf/etc $store/env; cd /
        for program in sh cat id; do
            cp -L /bin/$program $store/tools/bin/
            ldd /bin/$program | grep -o '/[^ ]*' | while read -r library; do mkdir -p $store/env${library%/*}; cp -L $library $store/env$library; done
        done
        echo root:x:0:0::/root:/bin/sh >$store/conf/etc/passwd; echo of-store >$store/conf/etc/mark
        ln -s $store/tools/bin $store/env/bin; ln -s $store/conf/etc $store/env/etc; cp -a $store/env $1/root
        cp -a $store/env $1/own; rm $1/own/bin $1/own/etc; ln -s $store/own/bin $1/own/bin; ln -s $store/own/etc $1/own/etc
        mkdir -p $1/own$store/own; cp -a $store/tools/bin $store/conf/etc $1/own$store/own/";
    let place = manager.dir().join("linked").display().to_string();
    manager
        .command(&["bash", "-euc", make, "make", &place])
        .ok();
    let [linked, own] = ["root", "own"].map(|name| format!("{place}/{name}"));
    for root in ["/nix/store/env", &linked, &own] {
        let plan = json!({ "version": 1, "name": "linked", "executors": { "box": { "type": "systemd", "root": root } },
            "jobs": { "j": { "executor": "box", "steps": [
                { "bash": "cat /etc/mark; id -un; while read -r line; do echo \"$line\"; done </etc/hosts; echo new >/etc/new; cat /etc/new" } ] } } });
        let finished = manager.run(&plan, &NONE).exits(0);
        let lines = finished.lines("j");
        assert_eq!((lines[0], lines[lines.len() - 1]), ("of-store", "new"));
        assert!(lines[1].starts_with("nixactions-"), "{finished}");
        assert!(lines.contains(&"127.0.0.1 localhost"), "{finished}");
        is_unmounted(manager);
    }
    let look = "cat /nix/store/conf/etc/passwd; ls /nix/store/conf/etc; umount /nix/store";
    let kept = manager.command(&["sh", "-ec", look]).ok();
    assert_eq!(kept, "root:x:0:0::/root:/bin/sh\nmark\npasswd\n");
}

fn a_bind_leads_through_no_link_of_another_user(manager: &Manager) {
    let directory = manager.dir().join("links");
    let make = "mkdir -p $1/private $1/own; echo of-root >$1/private/file; chmod 700 $1/private
        ln -s ../private $1/own/link; ln -s own/link $1/by-root; echo open >$1/file; ln -s file $1/fine
        chown -h -R 1234:1234 $1/own";
    let argv = ["sh", "-ec", make, "make", &directory.display().to_string()];
    manager.command(&argv).ok();
    for (name, reason) in [
        ("own/link", Some("a link of user 1234")),
        ("by-root", Some("a link of user 1234")),
        ("fine", None),
    ] {
        let source = directory.join(name);
        let executor = json!({ "bind": [{ "source": source, "target": "/there" }] });
        let jobs = json!({ "j": bash("cat /there") });
        let plan = or_skip!(plan(manager, executor, jobs));
        let finished = manager.run(&plan, &NONE);
        match reason {
            Some(reason) => {
                let finished = finished.exits(1);
                assert!(finished.reason("j").contains(reason), "{finished}");
            }
            None => assert_eq!(finished.exits(0).lines("j"), ["open"]),
        }
        is_unmounted(manager);
    }
}

/// Makes a small root file system below the manager's directory, with these programs of the image.
fn small_root(manager: &Manager, name: &str, programs: &str) -> String {
    let root = manager.dir().join(name).display().to_string();
    let script = "mkdir -p $1/bin; cd /; mount -t tmpfs -o mode=755 tmpfs $1; mkdir $1/bin
        for program in $2; do
            cp -L /bin/$program $1/bin/
            ldd /bin/$program | grep -o '/[^ ]*' | while read -r library; do mkdir -p $1${library%/*}; cp -L $library $1$library; done
        done";
    manager
        .command(&["bash", "-euc", script, "small", &root, programs])
        .ok();
    root
}

fn scripts_run_without_bash(manager: &Manager) {
    let root = small_root(manager, "small", "sh cat");
    let mut plan = json!({ "version": 1, "name": "small", "executors": { "box": { "type": "systemd", "root": root } },
        "jobs": { "j": bash("echo \"$0\" | cat; [ -z \"${BASH_VERSION-}\" ]; false; echo unreached") } });
    plan["jobs"]["j"]["executor"] = json!("box");
    plan["jobs"]["j"]["steps"][0]["continueOnError"] = json!(true);
    let look = json!({ "bash": "echo shell=$SHELL; cat /etc/passwd" });
    let steps = plan["jobs"]["j"]["steps"].as_array_mut();
    steps.expect("it has steps").push(look);
    let finished = manager.run(&plan, &NONE).exits(0);
    assert!(!finished.lines("j").contains(&"unreached"));
    assert_eq!(finished.value("j", "shell"), "/bin/sh");
    assert!(
        finished
            .lines("j")
            .iter()
            .any(|line| line.starts_with("nixactions-"))
    );
    manager.command(&["umount", &root]).ok();
}

/// Panics unless no root file system of a job is mounted where the manager is.
fn is_unmounted(manager: &Manager) {
    wait_for(SOON, "the root file systems to be unmounted", || {
        // Their mount points alone: a machine's own root is an overlay over a directory `roots`.
        let points = inside(manager, &["cut", "-d ", "-f5", "/proc/1/mountinfo"]).ok();
        (!points.contains("/roots/")).then_some(())
    });
}

fn nothing_stays_mounted_however_the_job_ends(manager: &Manager) {
    let wait = "touch here; sleep 1000";
    let begin = || {
        let plan = plan(manager, json!({}), json!({ "j": bash(wait) })).expect("it is a machine");
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "here");
        let mounts = inside(manager, &["cat", "/proc/1/mountinfo"]).ok();
        assert!(mounts.contains("/roots/j/tree"), "{mounts}");
        run
    };
    let run = begin();
    run.signal_client(Signal::SIGINT);
    let finished = run.end().exits(130);
    assert_eq!(finished.verdict("j"), "cancelled/cancelled");
    finished.leaves_nothing(manager);
    is_unmounted(manager);

    let run = begin();
    assert!(run.kill_runner("j"));
    let finished = run.end().exits(1);
    assert!(
        finished.reason("j").contains("SIGKILL") || finished.reason("j").contains("signal"),
        "{}",
        finished.reason("j")
    );
    is_unmounted(manager);

    let run = begin();
    manager.nixactions(&["cancel", "--kill", run.id()]).ok();
    run.end().exits(130);
    is_unmounted(manager);

    // Nobody is left to unmount it: the next command that finds the run does.
    let run = begin();
    let id = run.id().to_owned();
    let unit = format!("nixactions-{id}.service");
    let kill = "systemctl kill --signal=KILL $1 $2; systemctl stop $1 $2; systemctl reset-failed $1 $2 2>/dev/null || true";
    let job = format!("nixactions-{id}-j.service");
    let stop = format!(
        "systemctl set-property --runtime {unit} 2>/dev/null || true; mkdir -p /run/systemd/system/{unit}.d; printf '[Service]\\nRestart=no\\n' >/run/systemd/system/{unit}.d/99.conf; systemctl daemon-reload; {kill}"
    );
    manager
        .command(&["sh", "-c", &stop, "kill", &unit, &job])
        .ok();
    drop(run);
    manager.nixactions(&["list"]).ok();
    is_unmounted(manager);
}

fn a_runner_in_a_root_that_is_killed_is_followed_by_another(manager: &Manager) {
    let script = "echo attempt $NIXACTIONS_ATTEMPT; (sleep 0.01 &); if [ $NIXACTIONS_ATTEMPT = 1 ]; then touch here; sleep 1000; fi";
    let job = with(
        bash(script),
        json!({ "retry": { "maxAttempts": 2, "minTime": 0 } }),
    );
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": job })));
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "here");
    assert!(run.kill_runner("j"));
    let finished = run.end().exits(0);
    assert_eq!(finished.job("j")["attempts"], 2);
    assert!(finished.lines("j").contains(&"attempt 2"));
    is_unmounted(manager);
}

fn a_large_source_is_mounted_in_a_root(manager: &Manager) {
    let state = manager.state_dir().display().to_string();
    let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
    manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    for number in 0..300 {
        manager.write(format!("many/{number}"), "");
    }
    let source = manager.dir().join("many").display().to_string();
    let script =
        "ls | wc -l; echo changed >7; rm 8; findmnt --noheadings --output FSTYPE --target .";
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": bash(script) })));
    let finished = manager.run(&plan, &["--source", &source]).exits(0);
    let lines = finished.lines("j");
    assert!(
        lines.contains(&"300") && lines.contains(&"overlay"),
        "{lines:?}"
    );
    is_unmounted(manager);
}

fn a_root_that_cannot_be_used_is_refused(manager: &Manager) {
    let refused = |executor: Value, expected: &str| {
        let mut plan = json!({ "version": 1, "name": "bad", "jobs": { "j": bash("true") } });
        plan["jobs"]["j"]["executor"] = json!("box");
        plan["executors"] = json!({ "box": with(json!({ "type": "systemd" }), executor) });
        let path = manager.plan(&plan).display().to_string();
        let (code, said) = manager.refused(&["run", &path]);
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains("executor `box`") && said.contains(expected),
            "{said}"
        );
    };
    let empty = manager.open_directory("empty");
    let file = manager.write("file", "no image");
    refused(json!({ "root": "/no/such/root" }), "`/no/such/root`");
    refused(
        json!({ "root": file }),
        "neither a directory, a tar archive nor a file system",
    );
    refused(json!({ "root": empty }), "neither /bin/bash nor /bin/sh");
    let image = or_skip!(manager.image());
    let bind = json!([{ "source": "/no/such/source" }]);
    refused(
        json!({ "root": image, "bind": bind }),
        "cannot bind `/no/such/source`",
    );
    let foreign = manager.write_executable(
        "foreign/bin/sh",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0",
    );
    let foreign = foreign.ancestors().nth(2).expect("it has one");
    refused(json!({ "root": foreign }), "another architecture");
    assert!(manager.runs().is_empty(), "nothing was started");
}

fn a_users_manager_refuses_roots(manager: &Manager) {
    let image = or_skip!(manager.image());
    let mut plan = json!({ "version": 1, "name": "bad", "jobs": { "j": bash("true") },
        "executors": { "box": { "type": "systemd", "root": image } } });
    plan["jobs"]["j"]["executor"] = json!("box");
    let path = manager.plan(&plan).display().to_string();
    let (code, said) = manager.refused(&["run", &path]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("a user's manager cannot mount"), "{said}");
}

/// A closure of the store with nothing else: all that it needs is below /nix/store.
fn an_empty_root_has_the_store(manager: &Manager) {
    // A static program, so that it needs no libraries outside of the store. A machine's own root is
    // an overlay, which has no id-mapped mounts.
    let make = "mkdir -p /nix/store; mount -t tmpfs -o mode=755 tmpfs /nix/store; mkdir -p /nix/store/a-tools/bin /nix/store/b-empty; cp /sbin/ldconfig /nix/store/a-tools/bin/";
    manager.command(&["sh", "-ec", make]).ok();
    let program = "/nix/store/a-tools/bin/ldconfig";
    let mut plan = json!({ "version": 1, "name": "empty",
        "executors": { "box": { "root": "/nix/store/b-empty" } },
        "jobs": { "j": { "executor": "box", "steps": [
            { "run": [program, "--version"] },
            { "run": [program, "-C", "/nix/store/x"], "continueOnError": true },
        ] } } });
    for kind in ["systemd", "nspawn"] {
        plan["executors"]["box"]["type"] = json!(kind);
        let finished = manager.run(&plan, &NONE).exits(0);
        let lines = finished.lines("j");
        assert!(
            lines.iter().any(|line| line.contains("ldconfig")),
            "{kind}: {lines:?}"
        );
        // The store is read-only.
        assert_ne!(finished.job("j")["steps"][1]["exitCode"], 0, "{lines:?}");
        manager.command(&["test", "!", "-e", "/nix/store/x"]).ok();
        is_unmounted(manager);
    }
    plan["jobs"]["j"]["steps"] = json!([{ "bash": "true" }]);
    let path = manager.plan(&plan).display().to_string();
    let (code, said) = manager.refused(&["run", &path]);
    assert!(
        code == 2 && said.contains("neither /bin/bash nor /bin/sh"),
        "{said}"
    );
}

fn a_root_that_cannot_be_mounted_is_the_reason(manager: &Manager) {
    // A machine's own root is an overlay, which has no id-mapped mounts.
    let make = "mkdir -p /srv/on-overlay/bin; cp /bin/sh /srv/on-overlay/bin/";
    manager.command(&["sh", "-ec", make]).ok();
    let mut plan = json!({ "version": 1, "name": "overlay", "jobs": { "j": bash("true") },
        "executors": { "box": { "type": "systemd", "root": "/srv/on-overlay" } } });
    plan["jobs"]["j"]["executor"] = json!("box");
    let finished = manager.run(&plan, &NONE).exits(1);
    let reason = finished.reason("j");
    assert!(
        reason.starts_with("its root file system: ") && reason.contains("id-mapped"),
        "{reason}"
    );
    is_unmounted(manager);
}

fn capabilities_hold_in_the_job_alone(manager: &Manager) {
    let script = "mkdir -p empty; chroot / true; grep CapEff /proc/self/status
        if chown 12345 empty 2>/dev/null; then exit 9; fi; if mount -t tmpfs none /mnt 2>/dev/null; then exit 8; fi; cat /proc/self/uid_map";
    let executor = json!({ "capabilities": ["CAP_SYS_CHROOT"], "sandbox": "relaxed" });
    let plan = or_skip!(plan(manager, executor, json!({ "j": bash(script) })));
    let finished = manager.run(&plan, &NONE).exits(0);
    let lines = finished.lines("j");
    assert!(lines.contains(&"CapEff:\t0000000000040000"), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.ends_with("4294967295")),
        "{lines:?}"
    );
}

fn a_private_network_is_loopback_alone(manager: &Manager) {
    let script = "ls /sys/class/net; tail -n +3 /proc/net/dev | wc -l";
    let executor = json!({ "network": "private" });
    let plan = or_skip!(plan(manager, executor, json!({ "j": bash(script) })));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.lines("j"), ["lo", "1"], "{finished}");
}

/// An embedded manager has temporary directories of its own.
fn roots_and_binds_may_lie_in_temporary_directories(manager: &Manager) {
    for place in ["/tmp", "/var/tmp"] {
        let make = "set -e; cd \"$(mktemp -d \"$0/root.XXXXXX\")\"; mkdir image; echo bound > file
            for file in $(readlink -f /bin/sh) $(ldd /bin/sh | grep -o '/[^ ]*'); do
                cp -L --parents \"$file\" image
            done
            [ -e image/bin/sh ] || { mkdir -p image/bin; cp -L /bin/sh image/bin/sh; }
            chmod 755 .; pwd";
        let made = manager.command(&["bash", "-c", make, place]).ok();
        let made = std::path::Path::new(made.trim());
        let plan = json!({
            "version": 1,
            "name": "placed",
            "executors": { "box": {
                "type": "systemd",
                "root": made.join("image"),
                "bind": [ { "source": made.join("file"), "target": "/there" } ],
            } },
            "jobs": { "a": { "executor": "box", "steps": [ { "bash": "read -r line < /there; echo $line" } ] } },
        });
        let finished = manager.run(&plan, &NONE);
        assert_eq!(
            finished.lines("a"),
            ["bound"],
            "{place}: {:#}",
            finished.record
        );
        manager
            .command(&["rm", "-r", &made.display().to_string()])
            .ok();
    }
}

fn mounts_of_the_host_below_a_bind_stay(manager: &Manager) {
    let open = manager.open_directory("open");
    let below = open.join("below").display().to_string();
    let mount = "mkdir $0; mount -t tmpfs tmpfs $0; echo kept > $0/file";
    manager.command(&["sh", "-ec", mount, &below]).ok();
    let executor = json!({ "bind": [{ "source": open, "target": "/there" }] });
    let jobs = json!({ "j": bash("cat /there/below/file") });
    let plan = or_skip!(plan(manager, executor, jobs));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.lines("j"), ["kept"]);
    is_unmounted(manager);
    manager.command(&["mountpoint", "--quiet", &below]).ok();
    // Nothing is made in a directory of the host.
    let executor = json!({ "bind": [
        { "source": open, "target": "/there" }, { "source": "/etc", "target": "/there/new/etc" },
    ] });
    let plan = or_skip!(self::plan(manager, executor, json!({ "j": bash("true") })));
    let finished = manager.run(&plan, &NONE).exits(1);
    assert_eq!(finished.job("j")["reasonCode"], "rootFailed");
    assert!(!manager.file(open.join("new")).exists());
    is_unmounted(manager);
}
