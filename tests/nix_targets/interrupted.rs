//! Signals while Nix builds a workflow, and while its run starts.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Manager, RUN_DEADLINE, SOON, Signal, ended_within, on_managers, or_skip,
    wait_for,
};

use crate::FILE;

on_managers!(a_build_that_is_interrupted_leaves_nothing on system_252, system_262);

fn a_build_that_is_interrupted_leaves_nothing(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    manager.write("ci.nix", FILE);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let _ = fs::remove_file(manager.file("/tmp/slow"));
        let mut client = nix
            .nixactions(&["run", "ci.nix", "-A", "slow"])
            .spawn()
            .expect("it starts");
        wait_for(RUN_DEADLINE, "the build to begin", || {
            manager.file("/tmp/slow").exists().then_some(())
        });
        manager.signal(&client, signal);
        let status = ended_within(&mut client, SOON).expect("it ends");
        assert_eq!(status.code(), Some(130), "{signal}");
        assert_eq!(
            fs::read_dir(manager.file(manager.state_dir()).join("building"))
                .expect("it is there")
                .count(),
            0
        );
        assert_eq!(manager.runs(), [""; 0]);
    }
}

on_managers!(a_start_that_is_interrupted_ends on system_252, system_262);

fn a_start_that_is_interrupted_ends(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let file = manager.write("ci.nix", FILE);
    nix.build(&format!("(import {} {{ }}).nightly", file.display()));
    // A source tree that takes its time.
    manager.write(".git/HEAD", "");
    let git = manager.write_executable("bin/git", "#!/bin/sh\ntouch /tmp/git\nexec sleep 1000\n");
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let _ = fs::remove_file(manager.file("/tmp/git"));
        let script = format!(
            "PATH={}:$PATH nixactions run ci.nix -A nightly & pid=$!; echo $pid >/tmp/pid; wait $pid",
            git.parent().expect("it is in one").display()
        );
        let mut client = nix
            .command(&["bash", "-m", "-c", &script])
            .spawn()
            .expect("it starts");
        wait_for(RUN_DEADLINE, "the source tree's turn", || {
            manager.file("/tmp/git").exists().then_some(())
        });
        let pid = fs::read_to_string(manager.file("/tmp/pid")).expect("it was written");
        manager
            .command(&["kill", &format!("-{}", signal as i32), pid.trim()])
            .ok();
        assert_eq!(
            ended_within(&mut client, SOON).expect("it ends").code(),
            Some(status)
        );
    }
}
