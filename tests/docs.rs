//! The documentation tells the truth: its plans are good, its commands exist, and its lists of
//! properties are those that the engine sets.

use std::{fs, path::Path};

use clap::{CommandFactory as _, Parser as _};
use nixactions::{
    cli::args::Cli,
    graph::Graph,
    plan,
    unit::{self, Context, Features, ManagerKind, RunSpec, SPEC_VERSION},
};
use nixactions_harness::{Evaluator, Suite, or_skip};

const PAGES: [&str; 24] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/benchmarks.md",
    "docs/commands.md",
    "docs/containers.md",
    "docs/contract.md",
    "docs/tour.md",
    "docs/from-github-actions.md",
    "docs/coming-from-bash-nixactions.md",
    "docs/glossary.md",
    "docs/nix.md",
    "docs/plan.md",
    "docs/record.md",
    "docs/sandbox.md",
    "docs/design.md",
    "docs/secrets.md",
    "docs/nixos.md",
    "docs/operations.md",
    "docs/actions.md",
    "docs/language.md",
    "docs/options.md",
    "docs/output.md",
    "examples/README.md",
];

/// A fenced block: what stands after its fence, and its text.
struct Block {
    page: &'static str,
    line: usize,
    info: String,
    text: String,
}

fn read(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page))
        .unwrap_or_else(|error| panic!("{page}: {error}"))
}

fn blocks() -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for page in PAGES {
        let mut open: Option<Block> = None;
        for (index, line) in read(page).lines().enumerate() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(info)) => {
                    open = Some(Block {
                        page,
                        line: index + 1,
                        info: info.to_owned(),
                        text: String::new(),
                    })
                }
                (Some(_), Some(_)) => found.extend(open.take()),
                (Some(block), None) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{page}: a fence is not closed");
    }
    found
}

#[test]
fn plans_in_the_documentation_are_good_and_can_be_run() {
    let plans: Vec<_> = blocks()
        .into_iter()
        .filter(|block| block.info == "json plan")
        .collect();
    assert!(plans.len() >= 6, "the examples are gone");
    for Block {
        page, line, text, ..
    } in plans
    {
        let plan =
            plan::parse(text.as_bytes()).unwrap_or_else(|faults| panic!("{page}:{line}: {faults}"));
        assert_eq!(plan::unsupported(&plan), [], "{page}:{line}");
    }
}

/// Other tests evaluate whole workflows and configurations. The remaining blocks name only options
/// and functions that exist.
#[test]
fn nix_in_the_documentation_is_nix() {
    let evaluator = or_skip!(Evaluator::get(Suite::Bookworm));
    let blocks: Vec<_> = blocks()
        .into_iter()
        .filter(|block| block.info.split(' ').next() == Some("nix"))
        .collect();
    assert!(blocks.len() > 20, "the blocks are gone");
    for Block {
        page, line, text, ..
    } in blocks
    {
        let function = format!(
            "builtins.isFunction ({{ actions, config, envProviders, inputs, jobs, lib, mkWorkflow, nixactions, pkgs }}:\n{text})"
        );
        assert_eq!(
            evaluator.eval(&function).result,
            Ok(true.into()),
            "{page}:{line}"
        );
    }
}

/// Tables, code and long addresses cannot be broken.
#[test]
fn paragraphs_have_at_most_100_columns() {
    let mut faults = Vec::new();
    for page in PAGES
        .into_iter()
        .chain(["docs/operations.md", "docs/nixos.md"])
    {
        let mut in_fence = false;
        for (index, line) in read(page).lines().enumerate() {
            in_fence ^= line.trim_start().starts_with("```");
            let can_break = !in_fence && !line.starts_with(['|', '#']) && !line.starts_with("    ");
            let is_address = |word: &str| word.contains("://");
            if can_break && line.chars().count() > 100 && !line.split(' ').any(is_address) {
                faults.push(format!("{page}:{}", index + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn commands_in_the_documentation_exist() {
    let mut seen = 0;
    for Block {
        page, line, text, ..
    } in blocks().into_iter().filter(|block| block.info == "console")
    {
        for command in text
            .lines()
            .filter_map(|line| line.strip_prefix("$ ").or(line.strip_prefix("# ")))
        {
            for part in command.split(['|', ';']).flat_map(|part| part.split("&&")) {
                check(part, &format!("{page}:{line}: `{part}`"));
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "the commands are gone");
    // The ones in running text.
    for page in PAGES {
        let text = read(page);
        for command in text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.starts_with("nixactions ") && !code.contains("job DIR"))
        {
            let name = command.split_whitespace().nth(1).unwrap();
            assert!(
                Cli::command().find_subcommand(name).is_some() || name.starts_with('-'),
                "{page}: `{command}`"
            );
        }
    }
}

/// Panics if a command cannot be what the documentation takes it for.
fn check(command: &str, place: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match words.first().copied() {
        Some("nixactions") => {
            if let Err(error) = Cli::try_parse_from(&words) {
                assert!(!error.use_stderr(), "{place}: {error}");
            }
        }
        Some("examples/run") => assert!(
            root.join("examples").join(words[1]).is_dir(),
            "{place}: there is no such example"
        ),
        Some(script) if script.contains('/') => {
            assert!(root.join(script).exists(), "{place}: there is no such file")
        }
        _ => {}
    }
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(page)
            .parent()
            .unwrap()
            .to_owned();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() {
                Path::new(env!("CARGO_MANIFEST_DIR")).join(page)
            } else {
                folder.join(file)
            };
            assert!(target.exists(), "{page}: {link}");
            if !heading.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    anchors.iter().any(|anchor| anchor == heading),
                    "{page}: `{link}` names no heading (known: {})",
                    anchors.join(", ")
                );
            }
        }
    }
}

/// Returns the anchors that forges give to the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
        } else if !code && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            found.push(
                heading
                    .chars()
                    .filter(|&letter| letter.is_alphanumeric() || "-_ ".contains(letter))
                    .map(|letter| if letter == ' ' { '-' } else { letter })
                    .collect(),
            );
        }
    }
    found
}

#[test]
fn all_that_is_not_executed_yet_is_listed() {
    let page = read("docs/plan.md");
    let list = page
        .split("## Not yet")
        .nth(1)
        .expect("the section is there");
    let text = r#"{ "version": 1, "name": "w", "envFrom": [["/e"]],
        "executors": { "box": { "type": "nspawn", "root": "/r", "mode": "shared" }, "light": { "type": "systemd", "root": "/r" }, "image": { "type": "systemd", "image": { "oci": "/i" } }, "own": { "type": "hooks", "executeJob": ["/x"] } },
        "jobs": { "a": { "steps": [{ "bash": "true" }] },
                  "b": { "executor": "box", "steps": [{ "bash": "true" }] }, "c": { "executor": "own", "steps": [{ "bash": "true" }] } } }"#;
    let found = plan::unsupported(
        &plan::parse(text.as_bytes()).unwrap_or_else(|faults| panic!("{faults}")),
    );
    for fault in found {
        let word = match fault.path.rsplit('.').next().unwrap() {
            "type" => fault.found.trim_matches('`'),
            key => key,
        };
        assert!(
            list.contains(word),
            "{}: `{word}` is not listed as not executed",
            fault.path
        );
    }
}

/// The page on output for programs names each field of the types, in the section of the type.
#[test]
fn every_field_of_the_json_output_is_documented() {
    let page = read("docs/output.md");
    let types = [
        ("crates/core/src/event.rs", "EventKind", "## Events"),
        ("src/report/json.rs", "Log", "## Events"),
        ("crates/core/src/record.rs", "JobResult", "## Events"),
        ("crates/core/src/record.rs", "RunRecord", "## The record"),
        ("crates/core/src/record.rs", "JobRecord", "### Jobs"),
        ("crates/core/src/record.rs", "Usage", "### Jobs"),
        ("crates/core/src/record.rs", "MatrixRecord", "### Jobs"),
        ("crates/core/src/record.rs", "StepRecord", "### Steps"),
        ("crates/core/src/record.rs", "Annotation", "### Annotations"),
        ("crates/store/src/view.rs", "Overview", "## `list --json`"),
    ];
    for (file, name, heading) in types {
        let section = page
            .split(&format!("\n{heading}\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("no section `{heading}`"));
        let section = section.split("\n#").next().unwrap_or_default();
        let names = names_in_json(file, name);
        assert!(names.len() > 1, "{file}: {name}: {names:?}");
        for field in names {
            assert!(
                section.contains(&format!("`{field}`")),
                "docs/output.md: `{heading}` lacks `{field}` of {name}"
            );
        }
    }
}

/// Returns the names of a type's fields and variants as they stand in JSON.
fn names_in_json(file: &str, name: &str) -> Vec<String> {
    let source = syn::parse_file(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let fields = |fields: &syn::Fields| -> Vec<String> {
        let renamed = |attribute: &syn::Attribute| {
            let arguments = attribute.meta.require_list().ok()?.tokens.to_string();
            let (_, name) = arguments.split_once("rename = \"")?;
            Some(name.split('"').next()?.to_owned())
        };
        let name = |field: &syn::Field| {
            let ident = field.ident.as_ref()?.to_string();
            let other = field.attrs.iter().find_map(renamed);
            Some(other.unwrap_or_else(|| camel_case(&ident)))
        };
        fields.iter().filter_map(name).collect()
    };
    let mut found = Vec::new();
    for item in source.items {
        match item {
            syn::Item::Struct(item) if item.ident == name => found.extend(fields(&item.fields)),
            syn::Item::Enum(item) if item.ident == name => {
                for variant in &item.variants {
                    found.push(camel_case(&variant.ident.to_string()));
                    found.extend(fields(&variant.fields));
                }
            }
            _ => {}
        }
    }
    found
}

/// Writes a name of Rust in the way of serde's `camelCase`.
fn camel_case(name: &str) -> String {
    let mut found = String::new();
    for (index, word) in name.split('_').enumerate() {
        let (first, rest) = word.split_at(1);
        match index {
            0 => found.push_str(&first.to_lowercase()),
            _ => found.push_str(&first.to_uppercase()),
        }
        found.push_str(rest);
    }
    found
}

#[test]
fn the_properties_of_each_sandbox_are_those_of_the_documentation() {
    let text = r#"{ "version": 1, "name": "ci", "executors": { "e": { "type": "systemd", "sandbox": "LEVEL" } }, "jobs": {
        "build": { "outputs": { "dist": "dist" }, "steps": [{ "bash": "true" }] },
        "test": { "executor": "e", "needs": ["build"], "inputs": ["dist"], "steps": [{ "bash": "true" }] } } }"#;
    let blocks = blocks();
    let documented = |name: &str| {
        let block = blocks
            .iter()
            .find(|block| block.info == format!("properties {name}"));
        block
            .unwrap_or_else(|| panic!("no list of `{name}`"))
            .text
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let every = job_unit(&text.replace("LEVEL", "none"));
    assert_eq!(every, documented("every"));
    for level in ["strict", "relaxed"] {
        let all = job_unit(&text.replace("LEVEL", level));
        let own: Vec<_> = all
            .into_iter()
            .filter(|line| !every.contains(line) || line.starts_with("NoNewPrivileges"))
            .collect();
        assert_eq!(own, documented(level), "{level}");
    }
}

/// Returns the properties of the job `test`, as a unit file would say them.
fn job_unit(text: &str) -> Vec<String> {
    let plan = plan::parse(text.as_bytes()).unwrap_or_else(|faults| panic!("{faults}"));
    let graph = Graph::new(&plan).expect("the plan is good");
    let state = Path::new("/var/lib/nixactions");
    let run = RunSpec {
        version: SPEC_VERSION,
        run: "ci-1".parse().expect("it is a run id"),
        workflow: plan.name.clone(),
        manager: ManagerKind::System,
        created_at: Default::default(),
        program: "/usr/bin/nixactions".into(),
        directory: state.join("runs/ci-1"),
        state_directory: state.into(),
        runtime_directory: "/run/nixactions/ci-1".into(),
        overrides: Default::default(),
        secrets: None,
        inputs: Default::default(),
        path: "/usr/bin".into(),
        has_source: false,
        mounts_source: false,
        roots: Default::default(),
        images: Default::default(),
        disks: Default::default(),
        max_parallel: 2,
        max_jobs: None,
        origin: None,
        notify: Default::default(),
        keep_failed: None,
        delays_shutdown: false,
    };
    let context = Context {
        plan: &plan,
        graph: &graph,
        run: &run,
        features: Features::of_version(252),
    };
    let jobs: Vec<_> = graph.jobs().collect();
    let users = jobs
        .iter()
        .map(|ix| (*ix, "nixactions-61200".to_owned()))
        .collect();
    let users = unit::Users {
        jobs: users,
        ..unit::Users::default()
    };
    let wave = unit::wave(
        &context,
        0,
        &jobs,
        &unit::pure_success(&plan, &graph),
        &users,
    );
    let unit = wave
        .aux
        .iter()
        .find(|unit| unit.name.as_str() == "nixactions-ci-1-test.service")
        .expect("the job has a unit");
    unit.to_string()
        .lines()
        .skip(1)
        .map(as_in_a_unit_file)
        .collect()
}

/// D-Bus has numbers where unit files have words.
fn as_in_a_unit_file(line: &str) -> String {
    match line {
        "CapabilityBoundingSet=0" => "CapabilityBoundingSet=".to_owned(),
        "RestrictNamespaces=0" => "RestrictNamespaces=yes".to_owned(),
        "SystemCallErrorNumber=1" => "SystemCallErrorNumber=EPERM".to_owned(),
        _ => match line.split_once('=') {
            Some((name, "true")) => format!("{name}=yes"),
            Some((name, "false")) => format!("{name}=no"),
            _ => line.to_owned(),
        },
    }
}
