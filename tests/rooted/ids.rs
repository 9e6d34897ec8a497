//! Which ranges of user ids containers get.

use std::{fs::File, path::Path};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use nixactions_harness::{CommandExt as _, Manager, bash, on_managers, or_skip};
use serde_json::json;

use super::{NONE, nspawn::plan};

on_managers!(ranges_of_users_and_of_other_containers_are_not_used on embedded_262, system_252, system_257, system_262);

/// The directory in which systemd-nspawn locks ranges.
const LOCKS: &str = "/run/systemd/nspawn-uid";
/// The first ids of the first ranges of containers.
const FIRST: [u32; 3] = [0x6000_0000, 0x6001_0000, 0x6002_0000];

/// Locks a file as systemd-nspawn does. Returns `None` if another process has the lock.
fn lock(path: &Path) -> Option<File> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.unwrap_or_else(|error| panic!("cannot open `{}`: {error}", path.display()));
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&whole))
        .is_ok()
        .then_some(file)
}

fn ranges_of_users_and_of_other_containers_are_not_used(manager: &Manager) {
    // A user with the last id of the first range, as a directory of users may have it.
    let [user, locked, left] = FIRST;
    let last = user + 0xFFFE;
    let record = json!({ "userName": "far", "uid": last, "gid": last });
    let group = json!({ "groupName": "far", "gid": last });
    let make = "mkdir -p /run/userdb $1; touch $1/$2 $1/$3; cd /run/userdb
        echo \"$5\" >far.user; echo \"$6\" >far.group; ln -s far.user $4.user; ln -s far.group $4.group; getent passwd $4";
    let argv = [
        ["sh", "-ec", make, "make", LOCKS]
            .map(str::to_owned)
            .to_vec(),
        [locked, left, last].map(|id| id.to_string()).to_vec(),
        vec![record.to_string(), group.to_string()],
    ];
    manager.command(&argv.concat()).ok();
    let held = lock(&manager.file(Path::new(LOCKS).join(locked.to_string())));
    assert!(held.is_some());
    let script = "cat /proc/self/uid_map; touch here; until [ -e end ]; do sleep 0.05; done";
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": bash(script) })));
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "here");
    // A file that a killed systemd-nspawn has left locks nothing. The container locks it.
    let own = manager.file(Path::new(LOCKS).join(left.to_string()));
    assert!(lock(&own).is_none(), "another container could have its ids");
    run.release("j", "end");
    let finished = run.end().exits(0);
    let lines = finished.lines("j");
    let has_range = |first: u32| {
        let map = format!(" {first} ");
        lines.iter().any(|line| line.contains(&map))
    };
    assert!(has_range(left), "{lines:?}");
    assert!(!own.exists());
    finished.leaves_nothing(manager);
}
