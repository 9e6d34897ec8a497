//! Jobs with a root file system of their own under a plain unit: what they see, what they may
//! change, and what is left of it.

use nixactions_harness::{
    CommandExt as _, Manager, Signal, Skip, bash, on_managers, or_skip, with,
};
use serde_json::{Value, json};

use super::{NONE, digest, has_no_leak, inside, is_unmounted, small_root};

on_managers!(a_job_in_a_root_sees_nothing_of_the_host on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(changes_to_a_root_end_with_the_job on embedded, system_252, system_257, system_262);
on_managers!(scripts_run_without_bash on system_252, system_262);
on_managers!(nothing_stays_mounted_however_the_job_ends on system_252, system_257, system_262);
on_managers!(a_root_that_cannot_be_used_is_refused on system_252, system_262);
on_managers!(a_root_that_cannot_be_mounted_is_the_reason on system_252, system_257, system_262);
on_managers!(capabilities_hold_in_the_job_alone on system_252, system_257, system_262);
on_managers!(a_private_network_is_loopback_alone on system_252, system_262);

on_managers!(a_bind_leads_through_no_link_of_another_user on embedded, system_252, system_262);
on_managers!(mounts_of_the_host_below_a_bind_stay on system_252, system_257, system_262);
on_managers!(roots_and_binds_may_lie_in_temporary_directories on embedded);

/// Returns a plan of these jobs, which run in the image.
fn plan(manager: &Manager, executor: Value, jobs: Value) -> Result<Value, Skip> {
    super::plan(manager, "systemd", executor, jobs)
}

fn a_job_in_a_root_sees_nothing_of_the_host(manager: &Manager) {
    manager.write("secret", "the host's");
    let secret = manager.dir().join("secret").display().to_string();
    let state = manager.state_dir().display().to_string();
    let probe = format!(
        "set +eo pipefail; leak() {{ echo LEAK $*; }}
        for path in {secret} {state} /run/systemd/private /run/dbus /run/userdb /run/user /run/systemd/notify.host /srv/work /srv/image; do
            [ ! -e $path ] || [ -z \"$(ls -A $path)\" ] || leak $path; done
        find /run -type s ! -path /run/systemd/journal/socket | while read -r socket; do leak $socket; done
        ls -A /run /run/systemd | grep -vxE '/run:|/run/systemd:|systemd|nixactions|credentials|host|journal|propagate|incoming|.os-release-stage|inaccessible|mount-rootfs|' | while read -r x; do leak in /run: $x; done
        for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline | grep -E 'dbus|journald|supervise' && leak process $process; done
        env | grep -E '^(INVOCATION_ID|NOTIFY_SOCKET|LISTEN_|JOURNAL_STREAM|container)' | grep -vE '^(INVOCATION_ID|JOURNAL_STREAM)=' && leak environment
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
