//! Faults that the service of a workflow meets at run time, on a real systemd with the units of the
//! NixOS module: `systemctl status` has the reason, and the next schedule runs.

use std::fs;

use nixactions_harness::{CommandExt as _, Manager, SOON, on_managers, or_skip, wait_for};
use serde_json::Value;

on_managers!(a_fault_is_told_in_the_status_and_the_next_schedule_runs on system_257, system_262);

/// Breaks the workflow's surroundings, mends them, and checks the status of the service meanwhile.
fn a_fault_is_told_in_the_status_and_the_next_schedule_runs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(
        r#"{
            services.nixactions = {
                enable = true;
                workflows.ci = {
                    schedule = "*:*:*";
                    credentials.token = "/etc/ci-token";
                    settings.jobs.a.steps = [ { bash = "true"; } ];
                };
            };
            # The default is a minute.
            systemd.timers."nixactions@ci".timerConfig.AccuracySec = "1ms";
            # Each fault is a start that fails, and there may be many until it is seen.
            systemd.services."nixactions@ci".unitConfig.StartLimitIntervalSec = 0;
        }"#,
    );
    let shell = |script: &str| manager.command(&["sh", "-c", script]).ok();
    let successes = || {
        let records = manager.runs();
        let records = records
            .iter()
            .filter_map(|run| fs::read(manager.run_dir(run).join("record.json")).ok());
        records
            .filter_map(|record| serde_json::from_slice::<Value>(&record).ok())
            .filter(|record| record["conclusion"] == "success")
            .count()
    };
    for (fault, remedy, reason) in [
        (
            "true",
            "echo secret >/etc/ci-token",
            "credential `token`: there is no file `/etc/ci-token`",
        ),
        (
            "mount -t tmpfs -o size=16k,mode=755 tmpfs /var/lib/nixactions",
            "umount --lazy /var/lib/nixactions",
            "No space left on device",
        ),
        (
            "mount -t tmpfs -o ro,mode=755 tmpfs /var/lib/nixactions",
            "umount --lazy /var/lib/nixactions",
            "Read-only file system",
        ),
    ] {
        let before = successes();
        shell(fault);
        manager.systemctl(&["start", "nixactions@ci.timer"]).ok();
        wait_for(SOON, reason, || {
            let status = manager.systemctl(&["status", "nixactions@ci"]);
            let status = { status }.output_within(SOON);
            String::from_utf8_lossy(&status.stdout)
                .contains(reason)
                .then_some(())
        });
        shell(remedy);
        wait_for(SOON, "the next schedule", || {
            (successes() > before).then_some(())
        });
        manager.systemctl(&["stop", "nixactions@ci.timer"]).ok();
        wait_for(SOON, "the end of the service", || {
            let show = ["show", "--value", "--property=ActiveState", "nixactions@ci"];
            let state = manager.systemctl(&show).ok();
            ["inactive", "failed"].contains(&state.trim()).then_some(())
        });
    }
}
