//! Numbered workflows in Nix, and what they become: `tests/nix/workflows/<nnn>-<rule>/workflow.nix`
//! with `plan.json`, or with `error.txt`, and with `warnings.txt` where it warns.
//!
//! Each is evaluated by the Nix of every Debian suite (2.8, 2.26, 2.34), and by the host's own.
//! `NIXACTIONS_BLESS=1` writes what the language says now; read the difference before it is
//! committed. Errors of the module system are in nixpkgs' own words, which may change.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "language/texts.rs"]
mod texts;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nixactions::plan;
use nixactions_harness::{Evaluation, Evaluator, Suite, or_skip, with};
use proptest::{
    collection,
    prelude::{Just, Strategy},
    prop_oneof,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use texts::texts_of;

/// Makes a test for each Nix of functions `fn name(evaluator: &Evaluator)`.
macro_rules! on_each_nix {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use super::*;
            #[test]
            fn bookworm() {
                super::$name(&or_skip!(Evaluator::get(Suite::Bookworm)));
            }
            #[test]
            fn trixie() {
                super::$name(&or_skip!(Evaluator::get(Suite::Trixie)));
            }
            #[test]
            fn forky() {
                super::$name(&or_skip!(Evaluator::get(Suite::Forky)));
            }
            #[test]
            fn host() {
                super::$name(&or_skip!(Evaluator::host()));
            }
        })+
    };
}

on_each_nix!(
    each_workflow_becomes_its_plan_or_its_error,
    the_documentation_of_the_options_is_that_of_the_options,
    examples_of_the_guide_are_good,
    unchanged_actions_are_not_built_anew,
    the_language_and_the_engine_take_the_same_jobs,
    evaluation_is_linear,
);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn blesses() -> bool {
    std::env::var_os("NIXACTIONS_BLESS").is_some()
}

/// Evaluates an attribute of a file's workflow.
fn eval(evaluator: &Evaluator, file: &Path, attribute: &str) -> Evaluation {
    let evaluate = repository().join("tests/nix/evaluate.nix");
    evaluator.eval(&format!(
        "(import {} {{ workflow = {}; }}).{attribute}",
        evaluate.display(),
        file.display()
    ))
}

/// Takes out of a text what differs between machines.
fn redact(text: &str, evaluator: &Evaluator, folder: &Path) -> String {
    let text = text.replace(&format!("{}/", folder.display()), "");
    let text = text.replace(&repository().display().to_string(), "<nixactions>");
    let text = text.replace(&evaluator.lib().display().to_string(), "<nixpkgs>/lib");
    // /nix/store/<32 characters>-name
    let mut parts = text.split("/nix/store/");
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part
            .get(32..)
            .filter(|rest| rest.starts_with('-'))
            .unwrap_or(part);
        redacted.extend(["/nix/store/<hash>", rest]);
    }
    redacted
}

fn each_workflow_becomes_its_plan_or_its_error(evaluator: &Evaluator) {
    let mut folders: Vec<PathBuf> = fs::read_dir(repository().join("tests/nix/workflows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() > 80, "the fixtures are gone");
    let mut wrong = Vec::new();
    for folder in folders {
        let Evaluation {
            result, warnings, ..
        } = eval(evaluator, &folder.join("workflow.nix"), "plan");
        let (plan, error) = match result {
            Ok(plan) => {
                let text = serde_json::to_string_pretty(&plan).unwrap() + "\n";
                // The engine accepts every plan that Nix accepts.
                plan::parse(text.as_bytes())
                    .unwrap_or_else(|faults| panic!("{}: {faults}", folder.display()));
                (text, String::new())
            }
            Err(error) => (String::new(), error),
        };
        let warnings = warnings
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        for (file, found) in [
            ("plan.json", plan),
            ("error.txt", error),
            ("warnings.txt", warnings),
        ] {
            let found = redact(&found, evaluator, &folder);
            let file = folder.join(file);
            let expected = fs::read_to_string(&file).unwrap_or_default();
            if found == expected {
                continue;
            }
            if !blesses() {
                wrong.push(format!(
                    "--- {}: expected\n{expected}--- found\n{found}",
                    file.display()
                ));
            } else if found.is_empty() {
                fs::remove_file(&file).unwrap();
            } else {
                fs::write(&file, found).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn the_documentation_of_the_options_is_that_of_the_options(evaluator: &Evaluator) {
    let nix = repository().join("nix");
    let pkgs = repository().join("tests/nix/pkgs.nix");
    let found = evaluator.eval(&format!(
        "(import {} {{ pkgs = import {} {{ }}; }}).optionsDocumentation",
        nix.display(),
        pkgs.display()
    ));
    let found = found.result.unwrap_or_else(|error| panic!("{error}"));
    let found = found.as_str().unwrap();
    let file = repository().join("docs/options.md");
    if blesses() {
        fs::write(&file, found).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == found,
        "docs/options.md is not what the options say: NIXACTIONS_BLESS=1 writes it"
    );
}

/// Each block of the guides and README that is a whole workflow, fenced as `nix workflow`, and the
/// file that docs/language.md begins with.
fn examples_of_the_guide_are_good(evaluator: &Evaluator) {
    let guide = fs::read_to_string(repository().join("docs/language.md")).unwrap();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let from_github = fs::read_to_string(repository().join("docs/from-github-actions.md")).unwrap();
    let containers = fs::read_to_string(repository().join("docs/containers.md")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    // Packages that the stand-in for nixpkgs lacks.
    let head = r#"{ nixactions, lib, ... }@given:
        let pkgs = lib.genAttrs [ "busybox" "cargo" "clippy" "gcc" "perl" ] (_: given.pkgs.git)
            // { dockerTools.buildLayeredImage = _: given.pkgs.git; } // given.pkgs; in"#;
    let mut seen = 0;
    assert!(
        readme.contains("\n```nix workflow\n"),
        "the example is gone"
    );
    for block in [&readme, &from_github, &guide, &containers]
        .into_iter()
        .flat_map(|page| page.split("\n```nix workflow\n").skip(1))
    {
        let text = block.split("\n```").next().unwrap();
        let file = scratch.path().join(format!("{seen}.nix"));
        fs::write(&file, format!("{head}\n{text}\n")).unwrap();
        let plan = eval(evaluator, &file, "plan")
            .result
            .unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
        plan::parse(plan.to_string().as_bytes())
            .unwrap_or_else(|faults| panic!("{faults}\nin\n{text}"));
        seen += 1;
    }
    assert!(seen >= 12, "the examples are gone");
    let (_, first) = guide.split_once("\n```nix\n# ci.nix\n").unwrap();
    let file = scratch.path().join("ci.nix");
    fs::write(&file, first.split("\n```").next().unwrap()).unwrap();
    let root = repository().display();
    let expression = format!(
        "let pkgs = import {root}/tests/nix/pkgs.nix {{ overlays = [ (final: _: {{ gnumake = final.git; }}) ]; }};
        in (import {} {{ inherit pkgs; nixactions = import {root}/nix {{ inherit pkgs; }}; }}).plan",
        file.display()
    );
    evaluator
        .eval(&expression)
        .result
        .unwrap_or_else(|error| panic!("{error}\nin\n{first}"));
}

/// Returns the command of each step of each job.
fn programs(plan: &Value) -> Vec<&Value> {
    let jobs = plan["jobs"].as_object().unwrap().values();
    jobs.flat_map(|job| job["steps"].as_array().unwrap())
        .map(|step| &step["run"][0])
        .collect()
}

fn unchanged_actions_are_not_built_anew(evaluator: &Evaluator) {
    let scratch = tempfile::tempdir().unwrap();
    let plan = |script: &str, settings: &str| {
        let file = scratch.path().join("workflow.nix");
        let steps = format!(
            "steps = [ {{ name = \"test\"; bash = \"make check\"; }} {{ name = \"say\"; bash = \"{script}\"; {settings} }} ];"
        );
        fs::write(
            &file,
            format!("{{ nixactions, ... }}: nixactions.mkWorkflow {{ name = \"ci\"; jobs.test = {{ {settings} {steps} }}; }}"),
        )
        .unwrap();
        eval(evaluator, &file, "plan").result.unwrap()
    };
    let before = plan("echo done", "");
    let settings = plan(
        "echo done",
        "env.LEVEL = 3; timeout = \"5m\"; condition = \"always()\"; retry.max_attempts = 2; continueOnError = true;",
    );
    assert_ne!(before, settings);
    assert_eq!(
        programs(&before),
        programs(&settings),
        "settings are in the plan alone"
    );
    let script = plan("echo well done", "");
    assert_eq!(
        programs(&before)[0],
        programs(&script)[0],
        "another step's script changes nothing"
    );
    assert_ne!(programs(&before)[1], programs(&script)[1]);
}

/// Returns a plan with a text in one of the places of tests/nix/values.nix.
fn plan_with(place: &str, text: &str) -> Value {
    let (mut workflow, mut job, mut step) = (json!({}), json!({}), json!({ "bash": "true" }));
    let mut second = None;
    match place {
        "jobs" => workflow = json!({ "jobs": { text: { "steps": [step] } } }),
        "name" => workflow = json!({ "name": text }),
        "env" => workflow = json!({ "env": { text: "x" } }),
        "passEnv" => workflow = json!({ "passEnv": [text] }),
        "inputs" => workflow = json!({ "inputs": { text: { "type": "string" } } }),
        "group" => workflow = json!({ "concurrency": { "group": text } }),
        "executor" => workflow = json!({ "executors": { text: { "type": "systemd" } } }),
        "root" => workflow = json!({ "executors": { "x": { "type": "nspawn", "root": text } } }),
        "image" => {
            workflow =
                json!({ "executors": { "x": { "type": "nspawn", "image": { "oci": text } } } });
        }
        "matrix" => job = json!({ "matrix": { "group": "m", "values": { text: "1" } } }),
        "provider" => job = json!({ "envFrom": [[text]] }),
        "condition" => job = json!({ "condition": text }),
        "stepCondition" => {
            step = json!({ "bash": "true", "id": "a" });
            second = Some(json!({ "bash": "true", "condition": text }));
        }
        "stepEnv" => step = json!({ "bash": "true", "env": { "A": text } }),
        "outputFrom" => job = json!({ "outputsFrom": { "a": text } }),
        "outputFromName" => job = json!({ "outputsFrom": { text: "a" } }),
        "id" => step = json!({ "bash": "true", "id": text }),
        "output" => job = json!({ "outputs": { text: "x" } }),
        "path" => job = json!({ "outputs": { "x": text } }),
        "credential" => job = json!({ "credentials": { text: "/x" } }),
        "file" => job = json!({ "credentials": { "x": text } }),
        "step" => step = json!({ "bash": "true", "name": text }),
        "workdir" => step = json!({ "bash": "true", "workdir": text }),
        "script" => step = json!({ "bash": text }),
        "shell" => step = json!({ "bash": "true", "shell": text }),
        "shellProgram" => step = json!({ "bash": "true", "shell": [text, "{0}"] }),
        "shellArgument" => step = json!({ "bash": "true", "shell": ["a", text] }),
        "defaultWorkdir" => job = json!({ "defaults": { "workdir": text } }),
        "workflowWorkdir" => workflow = json!({ "defaults": { "workdir": text } }),
        "postEnv" => {
            step = json!({ "id": "a", "bash": "true", "post": { "bash": "true", "env": { "A": text } } })
        }
        "postWorkdir" => {
            step = json!({ "bash": "true", "post": { "bash": "true", "workdir": text } })
        }
        other => panic!("unknown place `{other}`"),
    }
    let steps: Vec<_> = [Some(step), second].into_iter().flatten().collect();
    let job = with(json!({ "steps": steps }), job);
    with(
        json!({ "version": 1, "name": "ci", "jobs": { "test": job } }),
        workflow,
    )
}

/// A Nix evaluates thousands of workflows here. The host's takes all texts, and the others share
/// them.
mod the_language_and_the_engine_take_the_same_texts {
    use super::*;

    #[test]
    fn bookworm() {
        takes_the_same(&or_skip!(Evaluator::get(Suite::Bookworm)), 0, 3);
    }

    #[test]
    fn trixie() {
        takes_the_same(&or_skip!(Evaluator::get(Suite::Trixie)), 1, 3);
    }

    #[test]
    fn forky() {
        takes_the_same(&or_skip!(Evaluator::get(Suite::Forky)), 2, 3);
    }

    #[test]
    fn host() {
        takes_the_same(&or_skip!(Evaluator::host()), 0, 1);
    }
}

/// Compares the language and the engine for the texts of one share of several.
fn takes_the_same(evaluator: &Evaluator, share: usize, shares: usize) {
    let texts_of = |place: &str| -> Vec<String> {
        let texts = texts_of(place).into_iter();
        texts.skip(share).step_by(shares).collect()
    };
    let list = json!({ "texts": texts_of(""), "expressions": texts_of("condition") }).to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), list).unwrap();
    let values = repository().join("tests/nix/values.nix");
    let expression = format!(
        "import {} (builtins.fromJSON (builtins.readFile {}))",
        values.display(),
        file.path().display()
    );
    let found = evaluator
        .eval(&expression)
        .result
        .unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = Vec::new();
    for (place, plans) in found.as_object().unwrap() {
        for (text, plan) in texts_of(place).iter().zip(plans.as_array().unwrap()) {
            let shown: String = text.chars().take(40).collect();
            let engine = plan::parse(plan_with(place, text).to_string().as_bytes())
                .map(drop)
                .map_err(|faults| faults.to_string());
            if engine.is_ok() == plan.is_null() {
                wrong.push(format!(
                    "{place} = {shown:?}: the language takes it: {}, the engine: {engine:?}",
                    !plan.is_null()
                ));
            }
            if !plan.is_null()
                && let Err(faults) = plan::parse(plan.to_string().as_bytes())
            {
                wrong.push(format!("{place} = {shown:?}: {faults}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns some jobs that need each other and pass artifacts on, at random. A kind of fault that is
/// not the case's is mostly not in it.
fn random_jobs() -> impl Strategy<Value = Value> {
    let needs = collection::vec(prop_oneof![30 => "[a-d]", 1 => "x"], 0..4);
    let outputs = collection::btree_map(
        "[p-s]",
        prop_oneof![3 => Just("dist"), 1 => Just("./dist/"), 3 => Just("doc")],
        0..2,
    );
    let inputs = collection::vec(
        (
            prop_oneof![30 => "[p-s]", 1 => "z"],
            prop_oneof![Just("."), Just("sub")],
        ),
        0..3,
    );
    let jobs = collection::btree_map("[a-d]", (needs, outputs, inputs), 1..5);
    (jobs, "[acrh]", 0..4).prop_map(|(jobs, kind, twice)| {
        let names: BTreeSet<String> = jobs.keys().cloned().collect();
        let (mut previous, mut saved) = (None, BTreeSet::new());
        let mut passed = serde_json::Map::new();
        for (name, (mut needs, mut outputs, mut inputs)) in jobs {
            match kind.as_str() {
                "c" => {
                    needs.retain(|need| names.contains(need));
                    needs.sort();
                    needs.dedup();
                    inputs.clear();
                }
                "r" => {
                    needs.retain(|need| names.contains(need) && *need < name);
                    inputs.clear();
                }
                // All before it are needed, but mostly not directly.
                "h" => {
                    needs = previous.into_iter().collect();
                    inputs.retain(|(artifact, _)| saved.contains(artifact));
                }
                _ => {}
            }
            if twice != 0 {
                outputs.retain(|artifact, _| !saved.contains(artifact));
            }
            saved.extend(outputs.keys().cloned());
            previous = Some(name.clone());
            let inputs: Vec<_> = inputs
                .into_iter()
                .map(|(name, path)| json!({ "name": name, "path": path }))
                .collect();
            passed.insert(
                name,
                json!({ "needs": needs, "outputs": outputs, "inputs": inputs }),
            );
        }
        Value::Object(passed)
    })
}

fn the_language_and_the_engine_take_the_same_jobs(evaluator: &Evaluator) {
    let mut runner = TestRunner::deterministic();
    let cases: Vec<Value> = (0..1000)
        .map(|_| random_jobs().new_tree(&mut runner).unwrap().current())
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), json!(cases).to_string()).unwrap();
    let jobs = repository().join("tests/nix/jobs.nix");
    let expression = format!(
        "import {} (builtins.fromJSON (builtins.readFile {}))",
        jobs.display(),
        file.path().display()
    );
    let taken = evaluator
        .eval(&expression)
        .result
        .unwrap_or_else(|error| panic!("{error}"));
    let mut good = 0;
    for (case, taken) in cases.iter().zip(taken.as_array().unwrap()) {
        let with_steps = |(name, job): (&String, &Value)| {
            (
                name.clone(),
                with(job.clone(), json!({ "steps": [{ "bash": "true" }] })),
            )
        };
        let jobs: serde_json::Map<_, _> =
            case.as_object().unwrap().iter().map(with_steps).collect();
        let engine = plan::parse(
            json!({ "version": 1, "name": "ci", "jobs": jobs })
                .to_string()
                .as_bytes(),
        );
        assert_eq!(taken, engine.is_ok(), "{case:#}\n{engine:?}");
        good += usize::from(engine.is_ok());
    }
    assert!((100..900).contains(&good), "{good} of them are good");
}

/// Evaluates a workflow of layers of ten jobs and returns Nix' figures of it. Each job needs all
/// jobs of the layer before.
fn layers(evaluator: &Evaluator, layers: u32) -> Value {
    let tests = repository().join("tests/nix");
    let expression = format!(
        "(import {0}/evaluate.nix {{ workflow = import {0}/layers.nix {layers}; }}).plan",
        tests.display()
    );
    let Evaluation {
        result, statistics, ..
    } = evaluator.eval(&expression);
    assert_eq!(
        result.unwrap_or_else(|error| panic!("{error}"))["jobs"]
            .as_object()
            .unwrap()
            .len(),
        10 * layers as usize
    );
    statistics
}

/// A job costs the same at 1,000 jobs as at 100, by the figures that Nix counts. These do not
/// depend on the machine.
fn evaluation_is_linear(evaluator: &Evaluator) {
    let [one, ten, hundred] = [1, 10, 100].map(|number| layers(evaluator, number));
    for figure in [
        "/nrThunks",
        "/nrFunctionCalls",
        "/nrPrimOpCalls",
        "/values/bytes",
        "/sets/bytes",
        "/gc/totalBytes",
    ] {
        let [one, ten, hundred] = [&one, &ten, &hundred].map(|figures| {
            figures
                .pointer(figure)
                .and_then(Value::as_f64)
                .unwrap_or_else(|| panic!("{figure} in {figures}"))
        });
        let (at_100, at_1000) = ((ten - one) / 90.0, (hundred - one) / 990.0);
        assert!(
            at_1000 <= 1.5 * at_100,
            "{figure}: {at_100} a job at 100 jobs, {at_1000} at 1,000"
        );
    }
    let bytes = hundred
        .pointer("/gc/totalBytes")
        .and_then(Value::as_u64)
        .unwrap();
    assert!(bytes < 1_000_000_000, "{bytes} bytes");
}

/// The time does depend on the machine, and on what else that does: the best of a few, of the
/// newest Nix.
#[test]
fn evaluation_is_fast() {
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    let seconds = |number: u32| {
        (0..5)
            .map(|_| layers(&evaluator, number)["cpuTime"].as_f64().unwrap())
            .fold(f64::INFINITY, f64::min)
    };
    let [one, ten, hundred] = [1, 10, 100].map(seconds);
    let (at_100, at_1000) = ((ten - one) / 90.0, (hundred - one) / 990.0);
    assert!(
        at_1000 <= 1.5 * at_100,
        "{at_100} s a job at 100 jobs, {at_1000} s at 1,000"
    );
    assert!(hundred <= 3.0, "{hundred} s");
}
