//! The NixOS module: the text of its units, `tests/module/<nnn>-<what>/`, and what systemd says of
//! it.
//!
//! They are evaluated by the machine's own Nix over a stand-in for NixOS (`tests/nix/nixos.nix`).
//! `NIXACTIONS_BLESS=1` writes what they are now; read the difference before it is committed.

use std::{collections::BTreeMap, fs, path::Path};

use nixactions_harness::{CommandExt as _, Manager, REPOSITORY, SOON, on_managers, or_skip};
use serde_json::json;

// Nix 2.8 and 2.34 have the last word on the language, systemd 252 and 262 on the units.
on_managers!(each_configuration_becomes_exactly_its_units on system_252, system_262);
on_managers!(errors_name_the_faulty_option on system_252, system_262);
on_managers!(a_wrong_schedule_is_told_when_the_system_is_built on system_252, system_262);
on_managers!(settings_mean_what_they_mean_to_mk_workflow on system_252, system_262);
on_managers!(defaults_of_all_workflows_are_weaker_than_those_of_jobs on system_252, system_262);
on_managers!(the_documentation_lists_all_options on system_262);
on_managers!(the_manual_of_nixos_may_have_all_options on system_252, system_262);
on_managers!(the_configurations_of_the_documentation_are_good on system_262);
on_managers!(systemd_calls_the_services_little_exposed on system_262);
on_managers!(systemd_finds_no_fault_with_the_units on system_252, system_257, system_262);
on_managers!(systemd_finds_the_fault_of_a_broken_unit on system_252, system_257, system_262);

/// Configurations are written by the name that stands here, and evaluated by the name that they
/// have in the machine.
const CONFIGURATIONS: &str = "tests/module";

/// Returns the names of the configurations, in order.
fn configurations() -> Vec<String> {
    let entries = fs::read_dir(here(CONFIGURATIONS)).expect("the configurations are there");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert!(names.len() >= 3, "the configurations are gone");
    names
}

fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns an attribute of the stand-in for NixOS with this module, an expression.
fn nixos(module: &str, attribute: &str) -> String {
    format!("(import {REPOSITORY}/tests/nix/nixos.nix {{ modules = [ {module} ]; }}).{attribute}")
}

fn configuration(name: &str) -> String {
    format!("{REPOSITORY}/{CONFIGURATIONS}/{name}/configuration.nix")
}

/// Takes the hashes out of paths in the store.
fn without_hashes(text: &str) -> String {
    let mut parts = text.split("/nix/store/");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "/nix/store/…" + part.get(32..).expect("a hash has 32 letters")
    })
}

fn each_configuration_becomes_exactly_its_units(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    for name in configurations() {
        let found = nix.eval(&nixos(&configuration(&name), "units"));
        let found: BTreeMap<_, _> = found
            .as_object()
            .expect("units have names")
            .iter()
            .map(|(unit, text)| {
                (
                    unit.clone(),
                    without_hashes(text.as_str().expect("units are texts")),
                )
            })
            .collect();
        let folder = here(CONFIGURATIONS).join(&name);
        let files = || {
            fs::read_dir(&folder)
                .expect("it is there")
                .map(|entry| entry.expect("it can be read").path())
        };
        let written = files().filter(|path| path.extension().is_some_and(|kind| kind != "nix"));
        if std::env::var_os("NIXACTIONS_BLESS").is_some() {
            written.for_each(|path| fs::remove_file(path).expect("it is ours"));
            found
                .iter()
                .for_each(|(unit, text)| fs::write(folder.join(unit), text).expect("it is ours"));
            continue;
        }
        let expected: BTreeMap<_, _> = written
            .map(|path| {
                (
                    path.file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    fs::read_to_string(&path).expect("it is text"),
                )
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

fn errors_name_the_faulty_option(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let workflows = |workflows: &str| {
        nixos(
            &format!("{{ services.nixactions = {{ enable = true; workflows = {workflows}; }}; }}"),
            "units",
        )
    };
    let cases = [
        (
            "{ ci = { }; }",
            "services.nixactions.workflows.ci: neither `package` nor `settings`",
        ),
        (
            "{ \"1st\".settings.jobs.a.steps = [ { bash = \"true\"; } ]; }",
            "`1st' in `services.nixactions.workflows' is not a name",
        ),
        (
            "{ ci.package = (import <nixpkgs> { }).coreutils; }",
            "services.nixactions.workflows.ci.package: `coreutils` is not a workflow",
        ),
        (
            "{ ci = { package = (import <nixpkgs> { }).coreutils; settings = { }; }; }",
            "services.nixactions.workflows.ci: both `package` and `settings`",
        ),
        (
            "{ ci = { schedule = \"\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.schedule",
        ),
        (
            "{ ci = { source = /srv/project; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "write it as a text, as in `source = \"/srv/project\";`",
        ),
        (
            "{ ci = { source = \"project\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source",
        ),
        (
            "{ ci = { secretFiles = [ ./secrets.env ]; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "everybody can read the store: name a file outside of it",
        ),
        (
            "{ ci = { environmentFiles = [ \"${builtins.toFile \"e\" \"\"}\" ]; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "everybody can read the store: name a file outside of it",
        ),
        (
            "{ ci = { schedule = \"daily\"; randomizedDelay = \"soon\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.randomizedDelay",
        ),
        (
            "{ ci = { credentials.t = \"${builtins.toFile \"t\" \"\"}\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.credentials.t: everybody can read the store",
        ),
        (
            "{ ci.settings.jobs.a = { credentials.t = \"${builtins.toFile \"t\" \"\"}\"; steps = [ { bash = \"true\"; } ]; }; }",
            r"path on the host, as a text: absolute, without `..`, whitespace and `\`, and not in the store",
        ),
        (
            "{ ci = { credentials.\"a/b\" = \"/t\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "`a/b' in `services.nixactions.workflows.ci.credentials' is not a name of a credential",
        ),
        (
            "{ ci.settings.jobs.a = { executor = \"big\"; steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.settings.jobs.a.executor: there is no executor `big` in `services.nixactions.executors`",
        ),
        (
            "{ ci = { notify.failure = [ \"mail.service\" ]; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.notify.failure",
        ),
        (
            "{ ci = { source.git.url = \"https://user:word@example.org/a\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.url: there are credentials in the URL",
        ),
        (
            "{ ci = { source.git.url = \"https://token@example.org/a\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "name a file that has the password in `passwordFile`",
        ),
        (
            "{ ci = { source.git.url = \"ssh://git:word@example.org/a\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "there are credentials in the URL",
        ),
        (
            "{ ci = { source.git.url = \"ext::sh -c true\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.url",
        ),
        (
            "{ ci = { source.git = { url = \"/srv/a\"; ref = \"--upload-pack=x\"; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.ref",
        ),
        (
            "{ ci = { source.git = { url = \"/srv/a\"; passwordFile = ./token; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.passwordFile: everybody can read the store",
        ),
        (
            "{ ci = { source.git.rev = \"main\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git",
        ),
        (
            "{ ci = { source.git = { url = \"/srv/a\"; ref = \"a..b\"; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.ref",
        ),
        (
            "{ ci = { source = { path = \"/srv/a\"; git.url = \"/srv/a\"; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source",
        ),
        (
            "{ ci = { source = (import <nixpkgs/lib>).mkMerge [ \"/srv/a\" { git.url = \"/srv/a\"; } ]; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source",
        ),
        (
            "{ ci = { source.git = { url = \"git@example.org:a\"; passwordFile = \"/run/word\"; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.passwordFile: `git@example.org:a` takes no password",
        ),
        (
            "{ ci = { source.git = { url = \"https://example.org/a\"; sshKeyFile = \"/run/key\"; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.sshKeyFile: `https://example.org/a` takes no key",
        ),
        (
            "{ ci = { source.git = { url = \"https://example.org/a\"; username = \"a:b\"; }; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.source.git.username",
        ),
        (
            "{ ci = { randomizedDelay = \"5min\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.randomizedDelay: it has no effect without a `schedule`",
        ),
        (
            "{ ci = { concurrency.grup = \"a\"; settings.jobs.a.steps = [ { bash = \"true\"; } ]; }; }",
            "services.nixactions.workflows.ci.concurrency",
        ),
        (
            "{ ci.shedule = \"daily\"; }",
            "services.nixactions.workflows.ci.shedule",
        ),
        (
            "{ ci.settings.jobs.a.stepz = [ ]; }",
            "services.nixactions.workflows.ci.settings.jobs.a.stepz",
        ),
        (
            "{ ci.settings.jobs.a = { needs = [ \"b\" ]; steps = [ { bash = \"true\"; } ]; }; }",
            "job `a`, needs: there is no job `b`",
        ),
    ];
    for (wrong, expected) in cases {
        let said = nix.eval_fails(&workflows(wrong));
        assert!(said.contains(expected), "{wrong}: {said}");
    }
    for (wrong, expected) in [
        ("retention.runs = 0;", "services.nixactions.retention.runs"),
        (
            "retention.maxAge = \"0d\";",
            "services.nixactions.retention.maxAge",
        ),
        (
            "retention.maxSize = \"0G\";",
            "services.nixactions.retention.maxSize",
        ),
        (
            "retention.maxSize = \"much\";",
            "services.nixactions.retention.maxSize",
        ),
        (
            "retention = { runs = null; maxAge = null; maxSize = null; };",
            "services.nixactions.retention: no bound: set `runs`, `maxAge` or `maxSize`",
        ),
        (
            "registryAuthFile = \"${builtins.toFile \"r\" \"\"}\"; workflows.ci.settings.jobs.a = { services.s = { image = \"docker://example.org/a\"; }; steps = [ { bash = \"true\"; } ]; };",
            "services.nixactions.registryAuthFile: everybody can read the store",
        ),
        (
            "registryAuthFile = ./registries.json; workflows.ci.settings.jobs.a = { services.s = { image = \"docker://example.org/a\"; }; steps = [ { bash = \"true\"; } ]; };",
            "services.nixactions.registryAuthFile: everybody can read the store",
        ),
        (
            "registryAuthFile = \"registries.json\"; workflows.ci.settings.jobs.a = { services.s = { image = \"docker://example.org/a\"; }; steps = [ { bash = \"true\"; } ]; };",
            "services.nixactions.registryAuthFile",
        ),
        (
            "registryAuthFile = \"/run/a b\"; workflows.ci.settings.jobs.a = { services.s = { image = \"docker://example.org/a\"; }; steps = [ { bash = \"true\"; } ]; };",
            "path outside the store, without spaces",
        ),
        (
            "limits.memoryMax = \"0\";",
            "services.nixactions.limits.memoryMax",
        ),
        (
            "limits.cpuQuota = \"4\";",
            "services.nixactions.limits.cpuQuota",
        ),
        (
            "operators.groups = [ \"nobody-there\" ];",
            "services.nixactions.operators.groups: there is no `nobody-there` in `users.groups`",
        ),
        (
            "operators.users = [ \"alice\" ];",
            "services.nixactions.operators.users: there is no `alice` in `users.users`",
        ),
        (
            "diskReserve = \"much\"; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.diskReserve",
        ),
        (
            "executor = \"big\"; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.executor: there is no executor `big` in `services.nixactions.executors`",
        ),
        (
            "notify.success = [ \"mail@root.service\" ]; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.notify.success",
        ),
        (
            "maxConcurrentJobs = 0;",
            "services.nixactions.maxConcurrentJobs",
        ),
        (
            "maxConcurrentJobs = -1;",
            "services.nixactions.maxConcurrentJobs",
        ),
        (
            "maxConcurrentJobs = 513;",
            "services.nixactions.maxConcurrentJobs",
        ),
        (
            "memoryPressureLimit = 0; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.memoryPressureLimit",
        ),
        (
            "memoryPressureLimit = 101; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.memoryPressureLimit",
        ),
        (
            "drainTimeout = \"soon\"; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.drainTimeout",
        ),
        (
            "drainTimeout = 0; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.drainTimeout",
        ),
        (
            "drainTimeout = \"-1min\"; workflows.ci.settings.jobs.a.steps = [ { bash = \"true\"; } ];",
            "services.nixactions.drainTimeout",
        ),
        (
            "limits.cpuWeight = 0;",
            "services.nixactions.limits.cpuWeight",
        ),
    ] {
        let module = format!("{{ services.nixactions = {{ enable = true; {wrong} }}; }}");
        let said = nix.eval_fails(&nixos(&module, "units"));
        assert!(said.contains(expected), "{wrong}: {said}");
    }
}

fn settings_mean_what_they_mean_to_mk_workflow(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let settings = r#"{
        env.LEVEL = 3; timeout = "1h30m"; inputs.release.default = "dev"; concurrency.group = "deploy";
        retry = { max_attempts = 2; min_time = "5s"; };
        extensions = [ (workflow: workflow // { env = workflow.env or { } // { EXTENDED = true; }; }) ];
        jobs = api.mkMatrixJobs { name = "m"; matrix.os = [ "a" "b" ]; job = { os, ... }: { steps = [ { bash = "echo ${os}"; } ]; }; } // {
            build = {
                executor = api.executors.systemd { name = "big"; properties.MemoryMax = "1G"; };
                outputs.dist = "dist/"; timeout = null;
                steps = [ (api.mkAction { name = "make"; bash = "mkdir dist"; }) pkgs.coreutils { bash = "true"; deps = [ pkgs.gnugrep ]; retry = null; } ];
            };
            test = { needs = [ "build" "m" ]; inputs = [ { name = "dist"; path = "in"; } ]; steps = [ { name = "t"; bash = "true"; condition = "always()"; } ]; };
        };
    }"#;
    let start = format!(
        "let pkgs = import <nixpkgs> {{ }}; api = import {REPOSITORY}/nix {{ inherit pkgs; }}; settings = {settings}; in"
    );
    let direct = nix.eval(&format!(
        "{start} (api.mkWorkflow ({{ name = \"ci\"; }} // settings)).plan"
    ));
    let module = "{ services.nixactions.workflows.ci = { inherit settings; }; }";
    let through = nix.eval(&format!(
        "{start} {}",
        nixos(module, "config.services.nixactions.workflows.ci.built.plan")
    ));
    assert_eq!(through, direct);
}

fn defaults_of_all_workflows_are_weaker_than_those_of_jobs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let module = r#"({ config, ... }: let api = config.lib.nixactions; steps = [ { bash = "true"; } ]; in {
        services.nixactions = {
            executors.big = api.executors.systemd { properties.MemoryMax = "8G"; };
            executor = "big";
            sandbox = "relaxed";
            properties = { MemoryMax = "1G"; TasksMax = 9; Nice = 1; };
            workflows.written = {
                credentials.token = "/etc/token";
                credentialsEncrypted.key = builtins.toFile "key.cred" "";
                concurrency.group = "one";
                settings = {
                    properties.Nice = 2;
                    jobs.a = { inherit steps; properties.TasksMax = 7; credentials.own = "/etc/own"; };
                    jobs.b = { inherit steps; executor = api.executors.systemd { name = "own"; sandbox = "strict"; }; };
                };
            };
            workflows.packaged = {
                credentials.token = "/etc/token";
                package = api.mkWorkflow { name = "p"; sandbox = "none"; concurrency.group = "two"; jobs.a = { inherit steps; }; };
            };
        };
    })"#;
    let plan = |workflow: &str| {
        let attribute = format!("config.services.nixactions.workflows.{workflow}.built.plan");
        nix.eval(&nixos(module, &attribute))
    };
    let written = plan("written");
    assert_eq!(
        written["executors"],
        json!({
            "big": { "type": "systemd", "copyRepo": true, "sandbox": "relaxed", "properties": { "MemoryMax": "8G" } },
            "own": { "type": "systemd", "copyRepo": true, "sandbox": "strict" },
        })
    );
    let (a, b) = (&written["jobs"]["a"], &written["jobs"]["b"]);
    assert_eq!(
        (&a["executor"], &a["properties"], &a["credentials"]),
        (
            &json!("big"),
            &json!({ "TasksMax": "7", "Nice": "2" }),
            &json!({ "token": "/etc/token", "own": "/etc/own" })
        )
    );
    assert_eq!(
        b["properties"],
        json!({ "MemoryMax": "1G", "TasksMax": "9", "Nice": "2" })
    );
    let key = b["credentialsEncrypted"]["key"].as_str();
    assert!(key.is_some_and(|key| key.ends_with("-key.cred")), "{b}");
    assert_eq!(
        written["concurrency"],
        json!({ "group": "one", "cancelInProgress": false })
    );

    let packaged = plan("packaged");
    assert_eq!(packaged["executors"]["local"]["sandbox"], "none");
    assert_eq!(packaged["concurrency"]["group"], "two");
    let a = &packaged["jobs"]["a"];
    assert_eq!(
        (&a["properties"]["MemoryMax"], &a["credentials"]["token"]),
        (&json!("1G"), &json!("/etc/token"))
    );
}

fn the_documentation_lists_all_options(manager: &Manager) {
    const MARK: &str = "<!-- Made of nixos/*.nix. -->\n\n";
    let nix = or_skip!(manager.nix());
    let page = here("docs/nixos.md");
    let text = fs::read_to_string(&page).expect("the page is there");
    let (head, listed) = text.split_once(MARK).expect("the list is there");
    let found = nix.eval(&nixos("{ }", "documentation"));
    let found = found.as_str().expect("it is a text");
    if std::env::var_os("NIXACTIONS_BLESS").is_some() {
        fs::write(&page, format!("{head}{MARK}{found}")).expect("it is ours");
    } else {
        assert_eq!(listed, found);
    }
}

/// It builds with no link to a place that it lacks, and names the file of each option.
fn the_manual_of_nixos_may_have_all_options(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let found = nix.eval(&nixos("{ }", "manual"));
    let found = found.as_array().expect("it is a list");
    assert!(found.len() > 150, "{}", found.len());
    for option in found {
        let description = option["description"].as_str().expect("each has one");
        assert!(!description.contains("]("), "{option}");
        assert_ne!(option["declarations"], json!([]), "{option}");
    }
}

fn the_configurations_of_the_documentation_are_good(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let text = ["README.md", "docs/nixos.md"]
        .map(|page| fs::read_to_string(here(page)).expect("the page is there"))
        .concat();
    let blocks: Vec<_> = text
        .split("```nix configuration\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 4, "the examples are gone");
    for block in blocks {
        let module =
            format!("let inputs.nixactions.nixosModules.default = {REPOSITORY}/nixos; in {block}");
        let module = manager.write("configuration.nix", module);
        let units = nix.eval(&nixos(&module.display().to_string(), "units"));
        assert!(
            units
                .as_object()
                .is_some_and(|units| units.keys().any(|unit| unit.starts_with("nixactions@"))),
            "{block}: {units}"
        );
    }
}

fn a_wrong_schedule_is_told_when_the_system_is_built(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let module = r#"{ services.nixactions = {
        enable = true;
        retention.schedule = "hourlyy";
        workflows.ci = { schedule = [ "daily" "Mon..Fryday" "02:30 Europe/Berlin" "02:61 Europe/Berlin" ]; settings.jobs.a.steps = [ { bash = "true"; } ]; };
    }; }"#;
    let files = nixos(module, "files");
    let build = ["nix-build", "--no-out-link", "--expr", &files];
    let output = nix.output(|| nix.command(&build));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    for part in [
        "services.nixactions.workflows.ci.schedule: `Mon..Fryday` is not a calendar event",
        "services.nixactions.workflows.ci.schedule: `02:61 Europe/Berlin` is not a calendar event",
        "services.nixactions.retention.schedule: `hourlyy` is not a calendar event",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        !said.contains("`daily`") && !said.contains("`02:30 "),
        "{said}"
    );
}

fn systemd_finds_no_fault_with_the_units(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    for name in configurations() {
        let units = nix.build(&nixos(&configuration(&name), "files"));
        let faults = faults(manager, &format!("{}/nixactions*", units.display()));
        assert_eq!(faults, None, "{name}");
    }
}

fn systemd_finds_the_fault_of_a_broken_unit(manager: &Manager) {
    for (broken, said) in [
        ("RestrictAdressFamilies=AF_UNIX", "RestrictAdressFamilies"),
        ("Type=nonsense", "nonsense"),
        ("ExecStartPre=/not/there", "/not/there"),
    ] {
        let text = format!("[Service]\nExecStart=/bin/true\n{broken}\n");
        let unit = manager.write("nixactions-broken.service", &text);
        let faults = faults(manager, &unit.display().to_string());
        assert!(
            faults.as_ref().is_some_and(|faults| faults.contains(said)),
            "{broken}: {faults:?}"
        );
    }
}

/// Returns systemd-analyze(1)'s faults of units, or `None` if it finds none.
///
/// Without `--recursive-errors=` it says what it finds, but exits with 0. With `no` it fails for
/// each fault of these units and leaves out the units that they name, which are not there.
fn faults(manager: &Manager, units: &str) -> Option<String> {
    let verify = "systemd-analyze verify --man=no --recursive-errors=no";
    let output = manager
        .command(&["sh", "-c", &format!("{verify} {units}")])
        .output_within(SOON);
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Of ten, by systemd-analyze(1): "OK" is up to 4.9, and what runs as root and makes directories
/// for others does not come far below.
fn systemd_calls_the_services_little_exposed(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    // The units of images have the network.
    const ALL: &str = "for unit in $1/nixactions*.service; do
        most=25
        case $unit in *-images@*) most=30 ;; esac
        systemd-analyze security --offline=yes --no-pager --threshold=${3:-$most} $unit
    done";
    for name in configurations() {
        let units = nix.build(&nixos(&configuration(&name), "files"));
        let units = units.display().to_string();
        let argv = ["sh", "-ec", ALL, "all", &units, &name];
        manager.command(&argv).ok();
        manager.command(&[&argv[..], &["1"]].concat()).fails();
    }
}
