//! Images of the NixOS module's workflows: units of their own obtain them before each run, with a
//! real systemd and a real registry that asks for a login.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "images/layout.rs"]
mod layout;
#[path = "images/made.rs"]
#[expect(dead_code, reason = "these tests need its list of programs alone")]
mod made;
#[path = "images/registry.rs"]
#[expect(dead_code, reason = "this registry is in a machine")]
mod registry;
#[path = "images/tree.rs"]
#[expect(dead_code, reason = "`made` needs it")]
mod tree;

use std::{
    path::Path,
    process::{Child, Command, Output},
};

use layout::{LAYOUT, ROOT, architecture};
use nixactions_harness::{
    CommandExt as _, Manager, Nix, RUN_DEADLINE, SOON, Skip, on_managers, or_skip, wait_for,
};

on_managers!(images_are_pulled_with_a_login_that_only_their_unit_has on system_252, system_257, system_262);
on_managers!(the_service_of_a_workflow_with_images_is_little_exposed on system_252, system_257, system_262);
on_managers!(a_run_has_exactly_the_images_that_were_pulled_for_it on system_257, system_262);
on_managers!(files_of_images_keep_their_rights on system_257, system_262);
on_managers!(images_of_services_beside_jobs_are_there on system_257, system_262);
on_managers!(a_pull_that_fails_is_the_reason_of_the_service_and_the_next_run_succeeds on system_257, system_262);
on_managers!(an_image_that_is_gone_before_the_run_is_told_with_its_unit on system_257, system_262);
on_managers!(a_stop_between_pull_and_run_keeps_no_image on system_257, system_262);
on_managers!(a_unit_of_its_own_pulls_the_images_of_an_operators_rerun on system_257, system_262);
on_managers!(a_pull_that_is_killed_or_stopped_leaves_nothing_and_the_next_run_succeeds on system_257, system_262);
on_managers!(a_run_by_hand_pulls_its_images_itself on system_257, system_262);

/// The registry of a machine, and the reference that the workflows have.
const HOST: &str = "127.0.0.1:5000";
const IMAGE: &str = "docker://127.0.0.1:5000/team/it:1";
/// An operator.
const ALICE: u32 = 2001;
/// Its login.
const LOGIN: (&str, &str) = ("me", "not-for-the-log");
/// The file with the login.
const LOGINS: &str = "/etc/logins-100%.json";
const STATE: &str = "/var/lib/nixactions";

/// A machine with a registry.
struct Place<'a> {
    manager: &'a Manager,
    nix: Nix<'a>,
    /// The files of the registry, on the host.
    directory: tempfile::TempDir,
    registry: Option<Child>,
}

impl<'a> Place<'a> {
    fn new(manager: &'a Manager) -> Result<Self, Skip> {
        made::tools(&["skopeo", "docker-registry", "htpasswd", "nsenter"])?;
        let nix = manager.nix()?;
        // A machine's own root is an overlay, which cannot be the lower layer of another. The steps
        // of the language need bash.
        let script = format!(
            "set -eu; ip link set lo up; mkdir -p {STATE}; mount -t tmpfs -o mode=755 tmpfs {STATE}
            set /srv/rootfs; {ROOT}
            mkdir -p $1/usr/bin; cp -L /bin/bash $1/usr/bin/
            ldd /bin/bash | grep -o '/[^ ]*' | while read -r library; do mkdir -p $1${{library%/*}}; cp -L $library $1$library; done
            chmod 4755 $1/bin/id; chown 0:998 $1/bin/ls; chmod 2755 $1/bin/ls; mkdir $1/srv/team; chown 0:998 $1/srv/team; chmod 2775 $1/srv/team"
        );
        manager.command(&["bash", "-c", &script]).ok();
        let mut place = Self {
            manager,
            nix,
            directory: tempfile::tempdir().unwrap(),
            registry: None,
        };
        place.log_in(LOGIN.1);
        place.serve();
        Ok(place)
    }

    /// Starts the registry in the machine's network.
    fn serve(&mut self) {
        let config = registry::configure(self.directory.path(), HOST, Some(LOGIN));
        let mut serve = self.beside("docker-registry");
        self.registry = Some(registry::spawn(serve.arg("serve").arg(config)));
        let connect = format!("exec 3<>/dev/tcp/{}", HOST.replace(':', "/"));
        wait_for(SOON, "the registry", || {
            let output = self.manager.command(&["bash", "-c", &connect]).output();
            output.is_ok_and(|it| it.status.success()).then_some(())
        });
    }

    fn stop_serving(&mut self) {
        if let Some(mut child) = self.registry.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal to the registry.
    fn signal(&self, signal: &str) {
        let registry = self.registry.as_ref().expect("it serves").id().to_string();
        let argument = format!("-{signal}");
        Command::new("kill").args([&argument, &registry]).ok();
    }

    /// Returns a command of the host's in the machine's network.
    fn beside(&self, program: &str) -> Command {
        let init = self.manager.machine().expect("Nix is in machines").init();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{init}/ns/net"));
        command.arg(program).env("TMPDIR", self.directory.path());
        command
    }

    /// Makes an image whose `/srv/root` has a text. Returns the path of its layout.
    fn layout(&self, text: &str) -> String {
        let path = format!("/srv/layout-{text}");
        let script = format!("set -eu; echo {text} >$2/srv/root; {LAYOUT}");
        let arguments = [&script, "layout", &path, "/srv/rootfs", architecture()];
        let argv = [&["bash", "-c"], &arguments[..]].concat();
        self.manager.command(&argv).ok();
        path
    }

    /// Pushes such an image by the reference of the workflows.
    fn push(&self, text: &str) {
        let layout = self.directory.path().join(text);
        let made = self.manager.file(self.layout(text));
        let mut take = Command::new("cp");
        take.arg("--recursive").args([&made, &layout]).ok();
        let mut copy = self.beside("skopeo");
        copy.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]);
        copy.arg(format!("--dest-creds={}:{}", LOGIN.0, LOGIN.1));
        copy.arg(format!("oci:{}", layout.display())).arg(IMAGE);
        copy.ok();
    }

    /// Writes the file with the login.
    fn log_in(&self, password: &str) {
        let script = format!(
            r#"printf '{{"auths":{{"{HOST}":{{"auth":"%s"}}}}}}' "$(printf %s '{}:{password}' | base64 -w0)" >'{LOGINS}'; chmod 600 '{LOGINS}'"#,
            LOGIN.0
        );
        self.sh(&script);
    }

    fn sh(&self, script: &str) -> String {
        self.manager.command(&["bash", "-ec", script]).ok()
    }

    /// Installs a workflow `ci` with the image, whose job prints the image's text, and more.
    fn install(&self, of_ci: &str, more: &str) {
        let module = format!(
            r#"({{ config, ... }}: let
                inherit (config.lib.nixactions.executors) systemd;
                of = image: {{
                    executor = systemd {{ inherit image; }};
                    steps = [ {{ bash = "echo of=$(cat /srv/root); export -p"; }} ];
                }};
            in {{ services.nixactions = {{
                enable = true;
                registryAuthFile = "{LOGINS}";
                workflows.ci = {{ settings.jobs.a = of "{IMAGE}"; {of_ci} }};
            }}; {more} }})"#
        );
        self.nix.install(&module);
    }

    fn start(&self, workflow: &str) -> Command {
        let unit = format!("nixactions@{workflow}");
        self.manager.systemctl(&["start", "--wait", &unit])
    }

    /// Starts a workflow, which has an image with this text.
    fn has(&self, workflow: &str, text: &str) {
        let output = self.start(workflow).output_within(RUN_DEADLINE);
        let said = self.said(workflow);
        assert!(output.status.success(), "{said}");
        assert!(said.contains(&format!("of={text}\n")), "{said}");
    }

    /// Returns the lines of a workflow's service.
    fn said(&self, workflow: &str) -> String {
        let unit = format!("--unit=nixactions@{workflow}");
        self.manager.journal(&[&unit, "--output=cat"]).ok()
    }

    fn status(&self) -> String {
        let show = ["status", "--full", "nixactions@ci"];
        let Output { stdout, .. } = self.manager.systemctl(&show).output_within(SOON);
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Starts `ci`, which fails for a reason that its status tells. No run is left.
    fn fails_for(&self, reasons: &[&str]) {
        let before = self.manager.runs().len();
        // These starts are closer together than a schedule's.
        self.manager.systemctl(&["reset-failed"]).ok();
        self.start("ci").fails();
        let status = self.status();
        for reason in reasons {
            assert!(status.contains(reason), "{reason}: {status}");
        }
        assert_eq!(self.manager.runs().len(), before, "{status}");
        assert_eq!(self.kept(), "");
    }

    /// Returns the notes on images for runs that have not begun.
    fn kept(&self) -> String {
        self.sh(&format!("ls {STATE}/images/kept 2>/dev/null || true"))
    }

    fn digests(&self) -> Vec<String> {
        let list = self.manager.nixactions(&["image", "list", "--json"]).json();
        let images = list.as_array().unwrap();
        let text = |image: &serde_json::Value| image["digest"].as_str().unwrap().to_owned();
        images.iter().map(text).collect()
    }

    /// Starts `ci`, and waits until its images are there.
    fn pulled(&self) {
        self.manager
            .systemctl(&["start", "--no-block", "nixactions@ci"])
            .ok();
        let pulled = self.manager.file("/run/pulled");
        wait_for(RUN_DEADLINE, "the pull", || pulled.exists().then_some(()));
    }

    fn go(&self) {
        self.sh("rm /run/pulled; touch /run/go");
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.stop_serving();
        // The machine goes with its mounts, if this fails.
        let umount = ["umount", "--lazy", STATE];
        let _ = self.manager.command(&umount).output();
    }
}

/// Lets the service of `ci` wait between the pull and the run, and then run a script.
fn hook(script: &str) -> String {
    format!(
        r#"systemd.services."nixactions@ci".serviceConfig.ExecStartPre = [
            "/bin/sh -c 'touch /run/pulled; until [ -e /run/go ]; do sleep 0.05; done; rm /run/go; {script}'"
        ];"#
    )
}

fn images_are_pulled_with_a_login_that_only_their_unit_has(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    place.install("", "");
    place.has("ci", "first");
    let said = place.said("ci");
    assert!(
        said.contains("HOME=") && !said.contains("warning"),
        "{said}"
    );
    let pulled = manager
        .journal(&["--unit=nixactions-images@ci", "--output=cat"])
        .ok();
    assert!(pulled.contains("unpacking layer 1 of 1"), "{pulled}");
    assert!(!said.contains("unpacking"), "{said}");
    // The password, and the text that has it in the file.
    let holders = place.sh(&format!(
        "systemctl show --all 'nixactions*' >/run/shown
        word=$(grep -o '\"auth\":\"[^\"]*' '{LOGINS}' | cut -d '\"' -f 4); test -n \"$word\"
        grep --recursive --devices=skip --exclude-dir=host --files-with-matches --fixed-strings \
            -e \"$word\" -e '{}' /etc /run /var/lib/nixactions* /var/log 2>/dev/null || true",
        LOGIN.1
    ));
    assert_eq!(holders.trim(), LOGINS);
    // The next run has it from the cache.
    place.has("ci", "first");
    assert_eq!(place.kept(), "");
}

/// Of ten, as `the_supervisor_is_little_exposed` and the tests of the module bound it.
fn the_service_of_a_workflow_with_images_is_little_exposed(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    place.install("", "");
    place.has("ci", "first");
    for unit in ["nixactions@ci.service", "nixactions-images@ci.service"] {
        let argv = [
            "systemd-analyze",
            "security",
            "--no-pager",
            "--threshold=30",
            unit,
        ];
        manager.command(&argv).ok();
    }
}

fn a_run_has_exactly_the_images_that_were_pulled_for_it(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    let other = format!(
        "services.nixactions.workflows.other.settings.jobs.a = of \"{IMAGE}\"; {}",
        hook("true")
    );
    place.install("", &other);
    place.pulled();
    let first = place.digests();
    // The tag moves on, another run starts, and an administrator wants room.
    place.push("second");
    place.has("other", "second");
    manager.nixactions(&["image", "clean"]).ok();
    assert_eq!(place.digests(), first);
    let remove = ["image", "remove", &first[0]];
    let told = manager.nixactions(&remove).fails();
    assert!(told.contains("is in use"), "{told}");
    place.go();
    wait_for(RUN_DEADLINE, "the run", || {
        place.said("ci").contains("ci-1: success").then_some(())
    });
    let said = place.said("ci");
    assert!(said.contains("of=first\n"), "{said}");
    // It has no owner now.
    assert_eq!(place.kept(), "");
    manager.nixactions(&["image", "clean"]).ok();
    assert_eq!(place.digests(), [""; 0]);
    place.sh("touch /run/go");
    place.has("ci", "second");
}

fn files_of_images_keep_their_rights(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("pulled");
    let layout = place.layout("unpacked");
    let other = format!("services.nixactions.workflows.other.settings.jobs.a = of \"{layout}\";");
    place.install("", &other);
    place.has("ci", "pulled");
    place.has("other", "unpacked");
    let digests = place.digests();
    assert_eq!(digests.len(), 2);
    for digest in digests {
        let root = format!("{STATE}/images/{}/root", &digest["sha256:".len()..]);
        let look = format!("cd {root}; stat --format='%n %a %u %g' bin/id bin/ls srv/team srv/web");
        assert_eq!(
            place.sh(&look),
            "bin/id 4755 0 0\nbin/ls 2755 0 998\nsrv/team 2775 0 998\nsrv/web 644 999 998\n"
        );
    }
}

fn images_of_services_beside_jobs_are_there(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    let served = format!(
        r#"services.nixactions.workflows.served.settings.jobs.a = {{
            services.waits = {{ image = "{IMAGE}"; run = [ "/bin/sleep" "60" ]; }};
            steps = [ {{ bash = "echo of=here"; }} ];
        }};"#
    );
    place.install("", &served);
    place.has("served", "here");
    assert_eq!(place.digests().len(), 1);
}

fn a_pull_that_fails_is_the_reason_of_the_service_and_the_next_run_succeeds(manager: &Manager) {
    let mut place = or_skip!(Place::new(manager));
    place.push("first");
    let failed = r#"systemd.services.told.serviceConfig = { Type = "oneshot"; ExecStart = "/bin/touch /run/told"; };"#;
    let scheduled = r#"onFailure = [ "told.service" ]; schedule = "*:*:0/2";"#;
    place.install(scheduled, failed);
    place.stop_serving();
    place.fails_for(&[
        "failed to obtain the images (exit-code); nixactions-images@ci.service says:",
        &format!("registry `{HOST}` cannot be reached"),
    ]);
    wait_for(SOON, "the unit of `onFailure`", || {
        manager.file("/run/told").exists().then_some(())
    });
    place.serve();
    place.log_in("wrong");
    place.fails_for(&["refuses the login of `me`"]);
    place.sh(&format!("mv '{LOGINS}' /etc/away"));
    place.fails_for(&["nixactions-images@ci.service: ", "status=243/CREDENTIALS"]);
    place.sh(&format!("mv /etc/away '{LOGINS}'"));
    place.log_in(LOGIN.1);
    place.sh(&format!("mount -o remount,size=600k {STATE}"));
    place.fails_for(&["No space left on device"]);
    place.sh(&format!("mount -o remount,size=1G {STATE}"));
    // Of another image.
    let wrong = format!(
        "{{ oci = \"{IMAGE}\"; digest = \"sha256:{}\"; }}",
        "1".repeat(64)
    );
    let other = format!(
        r#"settings.jobs.b = of "" // {{ executor = systemd {{ name = "other"; image = {wrong}; }}; }}; {scheduled}"#
    );
    place.install(&other, failed);
    place.fails_for(&["has the digest `sha256:", "not `sha256:1111"]);

    place.install(scheduled, failed);
    manager
        .systemctl(&["reset-failed", "nixactions@ci", "nixactions-images@ci"])
        .ok();
    manager.systemctl(&["start", "nixactions@ci.timer"]).ok();
    wait_for(RUN_DEADLINE, "a run by the timer", || {
        manager.run_of("ci-1").has_ended().then_some(())
    });
    manager.systemctl(&["stop", "nixactions@ci.timer"]).ok();
    let record = manager.run_of("ci-1").record();
    assert_eq!(record["conclusion"], "success", "{record:#}");
}

fn an_image_that_is_gone_before_the_run_is_told_with_its_unit(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    for gone in [
        "kept",
        "????????????????????????????????????????????????????????????????",
    ] {
        place.install("", &hook(&format!("rm -r {STATE}/images/{gone}")));
        place.sh("touch /run/go");
        place.fails_for(&[
            &format!("`nixactions-images@ci.service` has not obtained the image `{IMAGE}`"),
            "hint: `journalctl --unit=nixactions-images@ci.service` says what it did",
        ]);
    }
}

fn a_stop_between_pull_and_run_keeps_no_image(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    place.install("", &hook("true"));
    place.pulled();
    assert_eq!(place.kept().trim(), "nixactions-images@ci.service");
    manager.systemctl(&["stop", "nixactions@ci"]).ok();
    assert_eq!(place.kept(), "");
    manager.nixactions(&["image", "clean"]).ok();
    assert_eq!(place.digests(), [""; 0]);
    assert_eq!(manager.runs(), [""; 0]);
}

fn a_unit_of_its_own_pulls_the_images_of_an_operators_rerun(manager: &Manager) {
    let mut place = or_skip!(Place::new(manager));
    place.push("first");
    // Root alone may enter the directories of the test.
    let program = manager.program().display().to_string();
    place.sh(&format!("useradd -u {ALICE} alice; chmod 755 '{program}'"));
    let operators = "users.users.alice = { }; services.nixactions.operators.users = [ \"alice\" ];";
    place.install("", operators);
    let socket = ["start", "nixactions-operate.socket"];
    manager.systemctl(&socket).ok();
    place.has("ci", "first");

    let machine = manager.machine().expect("Nix is in machines");
    let rerun = [program.as_str(), "--system", "rerun", "ci-1"];
    let rerun = || machine.command_as(Some(ALICE), Path::new("/"), &rerun);
    let is_gone = |place: &Place<'_>| {
        wait_for(SOON, "the units to end", || {
            manager
                .units("nixactions-operate*@*.service")
                .is_empty()
                .then_some(())
        });
        assert_eq!(place.kept(), "");
        assert_eq!(
            place.sh("ls /run/nixactions-operate 2>/dev/null || true"),
            ""
        );
    };
    // The tag has moved on, so it is pulled.
    place.push("second");
    let said = rerun().ok();
    assert!(said.contains("of=second\n"), "{said}");
    is_gone(&place);
    place.stop_serving();
    let told = rerun().fails();
    for reason in [
        "error: failed to obtain the images (exit-code); nixactions-operate-images@",
        &format!("registry `{HOST}` cannot be reached"),
    ] {
        assert!(told.contains(reason), "{told}");
    }
    is_gone(&place);
    assert_eq!(manager.runs().len(), 2);
    place.serve();
    let said = rerun().ok();
    assert!(said.contains("of=second\n"), "{said}");
}

fn a_pull_that_is_killed_or_stopped_leaves_nothing_and_the_next_run_succeeds(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    let program = manager.program().display().to_string();
    place.sh(&format!("useradd -u {ALICE} alice; chmod 755 '{program}'"));
    let operators = "users.users.alice = { }; services.nixactions.operators.users = [ \"alice\" ];";
    place.install("", operators);
    // A stopped registry answers nothing, so the pull lasts.
    let begins = |unit: &str| {
        wait_for(SOON, "the pull", || {
            let units = manager.units(unit);
            units
                .iter()
                .any(|unit| unit.contains("images"))
                .then_some(())
        });
    };
    let nothing_is_left = || {
        wait_for(SOON, "the units to end", || {
            let units = manager.units("nixactions-*images@*.service");
            units.is_empty().then_some(())
        });
        assert_eq!(place.kept(), "");
        assert_eq!(place.digests(), [""; 0]);
        assert_eq!(manager.runs(), [""; 0]);
    };
    for end in [
        "systemctl kill --signal=KILL nixactions-images@ci",
        "systemctl stop nixactions-images@ci",
        "systemctl stop nixactions@ci",
    ] {
        place.signal("STOP");
        let start = ["start", "--no-block", "nixactions@ci"];
        manager.systemctl(&start).ok();
        begins("nixactions-images@ci.service");
        place.sh(end);
        place.signal("CONT");
        place.sh("until systemctl is-failed -q nixactions@ci || ! systemctl is-active -q nixactions@ci; do sleep 0.05; done");
        manager.systemctl(&["reset-failed"]).ok();
        nothing_is_left();
    }
    place.has("ci", "first");

    // An operator's command, killed in the middle of a pull. The tag has moved on.
    manager
        .systemctl(&["start", "nixactions-operate.socket"])
        .ok();
    place.push("second");
    let before = (place.digests(), manager.runs());
    place.signal("STOP");
    let machine = manager.machine().expect("Nix is in machines");
    let rerun = [program.as_str(), "--system", "rerun", "ci-1"];
    let rerun = || machine.command_as(Some(ALICE), Path::new("/"), &rerun);
    let mut client = rerun().spawn().unwrap();
    begins("nixactions-operate-images@*.service");
    place.sh("pkill -KILL --uid alice");
    client.wait().unwrap();
    place.signal("CONT");
    wait_for(SOON, "the units to end", || {
        let units = manager.units("nixactions-operate*@*.service");
        units.is_empty().then_some(())
    });
    assert_eq!(place.kept(), "");
    assert_eq!((place.digests(), manager.runs()), before);
    let said = rerun().ok();
    assert!(said.contains("of=second\n"), "{said}");
}

fn a_run_by_hand_pulls_its_images_itself(manager: &Manager) {
    let place = or_skip!(Place::new(manager));
    place.push("first");
    let plan = serde_json::json!({
        "version": 1, "name": "by-hand",
        "executors": { "box": { "type": "systemd", "image": { "oci": IMAGE } } },
        "jobs": { "a": { "executor": "box", "steps": [{ "bash": "echo of=$(cat /srv/root)" }] } },
    });
    let plan = manager.plan(&plan).display().to_string();
    let mut run = manager.nixactions(&["run", &plan]);
    let told = run.env("REGISTRY_AUTH_FILE", LOGINS).ok();
    assert!(told.contains("of=first"), "{told}");

    // The program names no file but its own.
    let odd = ["run", "--images=../ci", &plan];
    let (code, told) = manager.refused(&odd);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("invalid name `../ci` of a unit"), "{told}");
    let none = ["run", "--images=nixactions-images@none.service", &plan];
    let (code, told) = manager.refused(&none);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("has not obtained the image"), "{told}");
}
