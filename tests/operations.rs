//! The guide docs/operations.md: every command of it succeeds, in its order, on a machine with its
//! configuration.

use std::{fs, path::Path};

use nixactions_harness::{
    CommandExt as _, Manager, RUN_DEADLINE, SOON, on_managers, or_skip, wait_for,
};

on_managers!(every_command_of_the_guide_succeeds on system_257, system_262);

const ALICE: u32 = 2001;

/// Returns the blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let rest = page.split(fence.as_str()).skip(1);
    rest.filter_map(|rest| rest.split("```").next()).collect()
}

/// Runs a command of the guide, and returns its output.
fn run(manager: &Manager, line: &str) -> String {
    let (user, script) = line.split_once(' ').expect("a prompt and a command");
    let user = match user {
        "#" => None,
        "$" => Some(ALICE),
        _ => panic!("`{line}` has no prompt"),
    };
    let machine = manager.machine().expect("it is in a machine");
    let mut command = machine.command_as(user, Path::new("/"), &["bash", "-c", script]);
    let output = command.env("SYSTEMD_PAGER", "").output_within(RUN_DEADLINE);
    // An inactive unit (systemctl(1), "Exit status").
    let is_status = script.starts_with("systemctl status");
    let is_good = output.status.success() || is_status && output.status.code() == Some(3);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        is_good,
        "{line}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn every_command_of_the_guide_succeeds(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    or_skip!(nix.polkit());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).expect("the guide is there");
    let configuration = blocks(&page, "nix configuration");
    assert_eq!(configuration.len(), 1);
    manager
        .command(&["useradd", "-U", "-u", &ALICE.to_string(), "alice"])
        .ok();
    let module = manager.write("configuration.nix", configuration[0]);
    nix.install(&module.display().to_string());
    // NixOS starts these at the boot.
    let units = "nixactions@nightly.timer nixactions-clean.timer nixactions-operate.socket \
        nixactions-catalog.service";
    let start = format!("systemctl start {units}");
    manager.command(&["sh", "-c", &start]).ok();

    let consoles = blocks(&page, "console");
    let commands: Vec<&str> = consoles.iter().flat_map(|block| block.lines()).collect();
    assert!(commands.len() > 30, "the commands are gone");
    let mut said = String::new();
    for line in commands {
        said += &run(manager, line);
        if line.contains("start --no-block nixactions@broken") {
            wait_for(SOON, "the mail about the failure", || {
                let mail = fs::read_to_string(manager.file("/root/mail")).ok()?;
                mail.contains("broken-1: failure").then_some(())
            });
            wait_for(SOON, "the failure of the service", || {
                let state = manager
                    .systemctl(&["is-failed", "nixactions@broken"])
                    .output_within(SOON);
                state.status.success().then_some(())
            });
        }
    }
    for part in [
        "the token",
        "all tests passed",
        "nightly-1: success",
        "nixactions@nightly.timer",
        "soak-1: killing",
        "job test: failure",
        "Subject: Job test has failed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
