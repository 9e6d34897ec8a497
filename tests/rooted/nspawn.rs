//! Jobs in a container of systemd-nspawn: what they see, and what they may change.

use nixactions_harness::{
    CommandExt as _, Finished, Manager, SOON, Skip, bash, on_managers, or_skip, with,
};
use serde_json::{Value, json};

use super::{NONE, digest, has_no_leak};

on_managers!(a_job_in_a_container_sees_nothing_of_the_host on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(root_in_a_container_is_nobody_on_the_host on embedded, system_252, system_257, system_262);
on_managers!(packages_are_installed_as_root on system_252, system_257, system_262);
on_managers!(a_container_that_cannot_run_is_refused on system_252, system_262);
on_managers!(without_private_users_a_job_has_its_one_user on system_252, system_262);
on_managers!(files_of_any_owner_pass_between_containers_and_the_host on embedded, system_252, system_262);
on_managers!(containers_need_no_lookup_of_users on system_252, system_262);
on_managers!(capabilities_are_few_unless_the_plan_asks on embedded, system_252, system_257, system_262);
on_managers!(a_container_has_the_network_that_the_plan_names on system_252, system_257, system_262);
on_managers!(containers_with_names_alike_run_at_once on system_252, system_262);
on_managers!(limits_reach_into_a_container on system_252, system_257, system_262);
on_managers!(jobs_in_containers_wait_for_their_turn on embedded, system_252, system_257);

/// Returns a plan of these jobs, which run in containers of the image.
pub(super) fn plan(manager: &Manager, executor: Value, jobs: Value) -> Result<Value, Skip> {
    super::plan(manager, "nspawn", executor, jobs)
}

fn a_job_in_a_container_sees_nothing_of_the_host(manager: &Manager) {
    manager.write("secret", "the host's");
    let secret = manager.dir().join("secret").display().to_string();
    let state = manager.state_dir().display().to_string();
    let probe = format!(
        "set +eo pipefail; leak() {{ echo LEAK $*; }}
        for path in {secret} {state} /run/systemd/private /run/dbus /run/userdb /run/user /srv/work /srv/image; do
            [ ! -e $path ] || [ -z \"$(ls -A $path)\" ] || leak $path; done
        find /run -type s ! -path /run/systemd/journal/socket ! -path '/run/host/*' | while read -r socket; do leak $socket; done
        ls -A /run /run/systemd | grep -vxE '/run:|/run/systemd:|systemd|nixactions|credentials|host|journal|lock|' | while read -r x; do leak in /run: $x; done
        for process in /proc/[0-9]*; do
            tr '\\0' ' ' <$process/cmdline | grep -E 'dbus|journald|supervise|nspawn ' && leak process $process
            readlink $process/fd/* | grep -E '/events.jsonl|^/proc$|/slots' && leak descriptor of $process
        done
        [ \"$(ls /proc | grep -c '^[0-9]')\" -lt 12 ] || leak processes
        env | grep -E '^(INVOCATION_ID|NOTIFY_SOCKET|LISTEN_|JOURNAL_STREAM|container|NIXACTIONS_CONTAINER|MANAGERPID)' && leak environment
        [ ! -b /dev/sda ] || leak /dev; [ ! -e /dev/kmsg ] || leak /dev/kmsg
        ls -A /home | grep -v tester | while read -r home; do leak home $home; done
        mount -t tmpfs none /mnt 2>/dev/null && leak mount
        mount -o remount,rw /sys 2>/dev/null && leak remount
        mknod /null c 1 3 2>/dev/null && leak mknod
        echo 1 2>/dev/null >/proc/sys/kernel/sysrq && leak /proc/sys
        [ \"$(findmnt --noheadings --output OPTIONS --target /usr | grep -cw nosuid)\" = 1 ] || leak setuid
        [ \"$(cat /proc/sys/kernel/hostname)\" = {name}-0 ] || leak host name
        true",
        name = "boxed-1-j",
    );
    let jobs = json!({ "j": bash(&probe) });
    let plan = or_skip!(plan(manager, json!({}), jobs));
    let finished = manager.run(&plan, &NONE).exits(0);
    has_no_leak(&finished, "j");
}

fn root_in_a_container_is_nobody_on_the_host(manager: &Manager) {
    let image = or_skip!(manager.image());
    let open = manager.open_directory("open").display().to_string();
    let hidden = manager.write("hidden/file", "x");
    manager
        .command(&["chmod", "600", &hidden.display().to_string()])
        .ok();
    let change = format!(
        "[ $(id -u) = 0 ]; echo mine >/etc/mine; rm /usr/bin/env; mv /usr/share /usr/elsewhere; chmod 700 /etc
        [ \"$(stat -c %u:%g /etc/mine /usr/bin /etc/passwd | sort -u)\" = 0:0 ]
        echo gshadow=$(stat -c %U:%G /etc/gshadow); chown 33:44 /etc/mine; [ \"$(stat -c %u:%g /etc/mine)\" = 33:44 ]
        touch {open}/as-root; setpriv --reuid 33 --regid 44 --clear-groups touch {open}/as-other
        cp /bin/true {open}/suid; chmod 6755 {open}/suid
        if cat /run/hidden-file 2>/dev/null || cat {hidden} 2>/dev/null; then exit 9; fi
        if chown 65536 /etc/mine 2>/dev/null; then exit 8; fi
        cat /proc/self/uid_map",
        hidden = hidden.display()
    );
    let look = "[ ! -e /etc/mine ]; [ -x /usr/bin/env ]; [ -d /usr/share ]; cat /proc/self/uid_map";
    let jobs = json!({ "change": bash(&change), "look": bash(look) });
    let executor = json!({ "bind": [{ "source": open }, { "source": hidden, "readOnly": true }] });
    let plan = or_skip!(plan(manager, executor, jobs));
    let before = digest(manager);
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(digest(manager), before, "`{}` has changed", image.display());
    assert_eq!(finished.value("change", "gshadow"), "root:shadow");
    let first = |job: &str| -> u32 {
        let lines = finished.lines(job);
        let map = lines.iter().find(|line| line.ends_with(" 65536"));
        let map = map.unwrap_or_else(|| panic!("no map of ids: {lines:?}"));
        let mut numbers = map.split_whitespace();
        numbers
            .nth(1)
            .and_then(|id| id.parse().ok())
            .expect("a number")
    };
    // Two jobs that run at once have no id in common.
    assert_ne!(first("change"), first("look"));
    let owners = ["as-root", "as-other", "suid"].map(|file| format!("{open}/{file}"));
    let argv = ["stat", "-c", "%u", &owners[0], &owners[1], &owners[2]];
    let owners: Vec<u32> = manager
        .command(&argv)
        .ok()
        .lines()
        .map(|id| id.parse().expect("a number"))
        .collect();
    let root = first("change");
    assert_eq!(owners, [root, root + 33, root]);
    assert!(root >= 0x6000_0000, "{root}");
    finished.leaves_nothing(manager);
    let left = manager.command(&["ls", "/run/userdb"]).output_within(SOON);
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.contains(&root.to_string()), "{left}");
}

/// A package with a file of another owner, which adds a user when it is installed.
fn packages_are_installed_as_root(manager: &Manager) {
    let script = "mkdir -p p/DEBIAN p/srv/thing; echo hello >p/srv/thing/file
        printf 'Package: thing\\nVersion: 1\\nArchitecture: all\\nMaintainer: me <m@example.org>\\nDescription: a thing\\n' >p/DEBIAN/control
        printf '#!/bin/sh\\nset -e\\nuseradd --system thing\\nchown thing /srv/thing/file\\n' >p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst
        dpkg-deb --build --root-owner-group p thing.deb
        apt-get -qq install ./thing.deb || { dpkg --install thing.deb; }
        dpkg -s thing | grep '^Status: install ok installed'; echo owner=$(stat -c %U /srv/thing/file)
        echo other=$(setpriv --reuid thing --regid nogroup --clear-groups id -un)";
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": bash(script) })));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.value("j", "owner"), "thing");
    assert_eq!(finished.value("j", "other"), "thing");
}

fn refused(manager: &Manager, executor: Value, job: Value, expected: &str) {
    let root = or_skip!(manager.image());
    let mut plan = json!({ "version": 1, "name": "bad", "jobs": { "j": with(bash("true"), job) } });
    plan["jobs"]["j"]["executor"] = json!("box");
    let settings = json!({ "type": "nspawn", "root": root });
    plan["executors"] = json!({ "box": with(settings, executor) });
    let path = manager.plan(&plan).display().to_string();
    let (code, said) = manager.refused(&["run", &path]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(expected), "{said}");
    assert!(manager.runs().is_empty(), "nothing was started");
}

fn a_container_that_cannot_run_is_refused(manager: &Manager) {
    let none = || json!({});
    let open = json!({ "privateUsers": false, "capabilities": ["CAP_KILL"] });
    refused(manager, open, none(), "$.executors.box.capabilities");
    let properties = json!({ "properties": { "PrivateTmp": "yes" } });
    let expected = "properties.PrivateTmp: found `PrivateTmp` for a container";
    refused(manager, properties.clone(), none(), expected);
    refused(manager, none(), properties, expected);
    let bind = json!([{ "source": "/no/such/source" }]);
    refused(
        manager,
        json!({ "bind": bind }),
        none(),
        "cannot bind `/no/such/source`",
    );
    let program = "/usr/bin/systemd-nspawn";
    manager
        .command(&["mv", program, "/usr/bin/nspawn.away"])
        .ok();
    refused(
        manager,
        none(),
        none(),
        "the program `systemd-nspawn` is not installed",
    );
}

fn without_private_users_a_job_has_its_one_user(manager: &Manager) {
    let script = "[ $(id -u) != 0 ]; echo user=$(id -un) also=$USER; touch /etc/mine; grep CapEff /proc/self/status; cat /proc/self/uid_map
        if cat /proc/1/environ 2>/dev/null; then exit 9; fi";
    or_skip!(manager.image());
    for mode in ["isolated", "shared"] {
        let executor = json!({ "privateUsers": false, "mode": mode });
        let plan = plan(manager, executor, json!({ "j": bash(script) }));
        let finished = manager.run(&plan.expect("an image"), &NONE).exits(0);
        has_its_one_user(&finished);
    }
}

fn has_its_one_user(finished: &Finished) {
    let lines = finished.lines("j");
    assert!(lines.contains(&"CapEff:\t0000000000000000"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.ends_with("4294967295")),
        "{lines:?}"
    );
    let user = finished.value("j", "user");
    let (name, variable) = user.split_once(" also=").expect("both");
    assert!(
        name.starts_with("nixactions-6") && name == variable,
        "{user}"
    );
}

fn containers_need_no_lookup_of_users(manager: &Manager) {
    let file = "/etc/nsswitch.conf";
    manager.command(&["sed", "-i", "s/ systemd//", file]).ok();
    let jobs = json!({ "j": bash("echo user=$(id -un)") });
    let plan = or_skip!(plan(manager, json!({}), jobs));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.value("j", "user"), "root");
    let path = manager.plan(&plan).display().to_string();
    let checked = manager.nixactions(&["check", &path]).output_within(SOON);
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(!said.contains("DynamicUser"), "{said}");
    let mut open = plan;
    open["executors"]["box"]["privateUsers"] = json!(false);
    let path = manager.plan(&open).display().to_string();
    let (code, said) = manager.refused(&["run", &path]);
    assert!(code == 2 && said.contains("nss-systemd(8)"), "{said}");
}

fn capabilities_are_few_unless_the_plan_asks(manager: &Manager) {
    let script = "grep CapBnd /proc/self/status; if mount -t tmpfs none /mnt 2>/dev/null; then echo mounted; fi";
    let lines = |executor: Value| {
        let plan = plan(manager, executor, json!({ "j": bash(script) })).expect("an image");
        let finished = manager.run(&plan, &NONE).exits(0);
        let lines = finished.lines("j").into_iter().map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    or_skip!(manager.image());
    // Those of `capabilities(7)` that docs/containers.md lists.
    assert_eq!(lines(json!({})), ["CapBnd:\t00000000a00421fb"]);
    let found = lines(json!({ "capabilities": ["CAP_SYS_ADMIN"] }));
    assert_eq!(found, ["CapBnd:\t00000000a02421fb", "mounted"]);
}

fn a_container_has_the_network_that_the_plan_names(manager: &Manager) {
    let script = "ls /sys/class/net | sort | tr '\\n' ' '; tail -n +3 /proc/net/dev | wc -l; grep CapBnd /proc/self/status; cat /proc/net/if_inet6 | wc -l";
    let lines = |network: &str| {
        let executor = json!({ "network": network });
        let plan = plan(manager, executor, json!({ "j": bash(script) })).expect("an image");
        manager.run(&plan, &NONE).exits(0).lines("j").join("|")
    };
    or_skip!(manager.image());
    let found = lines("private");
    assert!(
        found.starts_with("lo 1|CapBnd:\t00000000a00425fb"),
        "{found}"
    );
    let found = lines("veth");
    assert!(found.starts_with("host0 lo 2|"), "{found}");
}

/// Their host names are the same. Their network interfaces on the host must not be.
fn containers_with_names_alike_run_at_once(manager: &Manager) {
    let open = manager.open_directory("open").display().to_string();
    let start = |name: &str, other: &str| {
        let script = format!(
            "touch {open}/{name}; until [ -e {open}/{other} ]; do sleep 0.05; done; hostname"
        );
        let executor = json!({ "network": "veth", "bind": [{ "source": open }] });
        let mut plan = plan(manager, executor, json!({ "j": bash(&script) }))?;
        plan["name"] = json!(name);
        Ok::<_, Skip>(manager.start(&plan, &NONE))
    };
    let one = or_skip!(start("twin_a", "twin-a"));
    let two = or_skip!(start("twin-a", "twin_a"));
    for run in [one, two] {
        let finished = run.end().exits(0);
        assert_eq!(finished.lines("j"), ["twin-a-1-j-0"]);
    }
}

fn limits_reach_into_a_container(manager: &Manager) {
    let token = manager.write("token", "hunter2alpha");
    let script = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; nice; grep -o 'core file size *[0-9]*' /proc/self/limits";
    let job = with(
        bash(script),
        json!({ "properties": { "LimitNOFILE": "100:200" }, "credentials": { "token": token } }),
    );
    let executor =
        json!({ "properties": { "Nice": "7", "LimitNOFILE": "50", "TasksMax": "infinity" } });
    let plan = or_skip!(plan(manager, executor, json!({ "j": job })));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        finished.lines("j"),
        ["100", "200", "500", "7", "core file size        1"]
    );
}

/// Before systemd 258, the runners hold locks, which they are given through systemd-nspawn.
fn jobs_in_containers_wait_for_their_turn(manager: &Manager) {
    let open = manager.open_directory("open").display().to_string();
    let script =
        format!("ls {open} >seen; mkdir {open}/turn; sleep 0.3; rmdir {open}/turn; cat seen");
    let jobs: serde_json::Map<String, Value> = ["a", "b", "c"]
        .map(|name| (name.to_owned(), bash(&script)))
        .into_iter()
        .collect();
    let executor = json!({ "bind": [{ "source": open }] });
    let mut plan = or_skip!(plan(manager, executor, Value::Object(jobs)));
    plan["maxParallel"] = json!(1);
    let finished = manager.run(&plan, &NONE).exits(0);
    for job in ["a", "b", "c"] {
        assert_eq!(finished.lines(job), NONE, "{job} ran beside another");
    }
}

fn files_of_any_owner_pass_between_containers_and_the_host(manager: &Manager) {
    let make = "[ $NIXACTIONS_ATTEMPT = 2 ] || { mkdir -m 700 left; touch left/x; chown -R 33:33 left; exit 1; }
        [ -z \"$(ls -A)\" ]; mkdir -p dist/deep; echo secret >dist/deep/file; chmod 600 dist/deep/file; chmod 700 dist/deep; chown -R 33:44 dist";
    let make = with(
        bash(make),
        json!({ "outputs": { "dist": "dist" }, "retry": { "maxAttempts": 2, "minTime": 0 } }),
    );
    let take = |executor: &str| {
        let script = "cat dist/deep/file; stat -c %a dist/deep dist/deep/file; echo more >>dist/deep/file; mkdir dist/new";
        let more = json!({ "needs": ["make"], "inputs": ["dist"], "executor": executor });
        with(bash(script), more)
    };
    let jobs = json!({ "make": make, "boxed": bash("true") });
    let mut plan = or_skip!(plan(manager, json!({}), jobs));
    plan["executors"]["host"] = json!({ "type": "systemd" });
    plan["jobs"]["boxed"] = take("box");
    plan["jobs"]["hosted"] = take("host");
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.job("make")["attempts"], 2);
    for job in ["boxed", "hosted"] {
        assert_eq!(finished.lines(job), ["secret", "700", "600"], "{job}");
    }
    finished.leaves_nothing(manager);
}
