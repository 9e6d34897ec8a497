//! The errors of functions for bad arguments, and the statements of docs/actions.md: evaluated by
//! the Nix of each Debian suite, and the host's.

use std::{fs, path::Path};

use nixactions_harness::{Evaluator, Suite, or_skip};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::scope;

/// Makes a test for each Nix of functions `fn name(language: &Language)`.
macro_rules! on_each_nix {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use super::*;
                        #[test]
            fn bookworm() {
                super::$name(&Language::of(or_skip!(Evaluator::get(Suite::Bookworm))));
            }
                        #[test]
            fn trixie() {
                super::$name(&Language::of(or_skip!(Evaluator::get(Suite::Trixie))));
            }
                        #[test]
            fn forky() {
                super::$name(&Language::of(or_skip!(Evaluator::get(Suite::Forky))));
            }
                        #[test]
            fn host() {
                super::$name(&Language::of(or_skip!(Evaluator::host())));
            }
        })+
    };
}

on_each_nix!(
    bad_arguments_are_errors_with_function_argument_and_what_is_known,
    packages_that_are_not_there_are_missed_only_where_they_are_used,
    every_function_and_argument_is_documented,
    examples_of_the_documentation_are_workflows,
);

/// The language as one Nix evaluates it.
struct Language {
    nix: Evaluator,
    directory: TempDir,
}

impl Language {
    fn of(nix: Evaluator) -> Self {
        Self {
            nix,
            directory: TempDir::new().expect("there is room for a directory"),
        }
    }

    fn result(&self, expression: &str) -> Result<Value, String> {
        self.nix
            .eval(&scope(self.directory.path(), self.nix.lib(), expression))
            .result
    }

    fn eval(&self, expression: &str) -> Value {
        self.result(expression)
            .unwrap_or_else(|error| panic!("{expression}\n{error}"))
    }

    fn fails(&self, expression: &str) -> String {
        self.result(expression)
            .err()
            .unwrap_or_else(|| panic!("{expression} is not an error"))
    }
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/actions.md"))
        .expect("the page is there")
}

fn bad_arguments_are_errors_with_function_argument_and_what_is_known(language: &Language) {
    let says = |expression: &str, words: &[&str]| {
        let error = language.fails(&format!("builtins.toJSON ({expression})"));
        for word in words {
            assert!(
                error.contains(word),
                "{expression} does not say `{word}`: {error}"
            );
        }
    };
    says(
        "actions.sopsLoad { fiel = \"x\"; }",
        &[
            "actions.sopsLoad: unknown argument `fiel`, did you mean `file`? (known: file, format, identity, variables; and the options of a step: condition, ",
        ],
    );
    says(
        "actions.sopsLoad { }",
        &[
            "actions.sopsLoad: argument `file` is missing: file: a path, or text",
            "(known: file, ",
        ],
    );
    says(
        "actions.sopsLoad { file = \"x\"; format = \"toml\"; }",
        &[
            "actions.sopsLoad.format",
            "one of \"yaml\", \"json\", \"dotenv\"",
            "expression.nix:1",
        ],
    );
    says(
        "actions.sopsLoad \"x\"",
        &[
            "actions.sopsLoad: expected a set with `file`, ",
            "found a string",
        ],
    );
    // The language reports a fault of a step or a job where it is used, with the place that the
    // user wrote.
    let used =
        |step: &str| format!("(mkWorkflow {{ name = \"w\"; jobs.j.steps = [ ({step}) ]; }}).plan");
    says(
        &used("actions.npmTest { timeout = \"90x\"; }"),
        &[
            "workflows.w.jobs.j.steps.\"npm test\".timeout",
            "duration: ",
            "expression.nix:1",
        ],
    );
    says(
        &used("actions.npmTest { env = \"A=1\"; }"),
        &[
            "workflows.w.jobs.j.steps.\"npm test\".env",
            "expression.nix:1",
        ],
    );
    // A private key would be copied to the store.
    says(
        "actions.ageDecrypt { file = \"x\"; identity = ./expression.nix; }",
        &["actions.ageDecrypt.identity", "everybody can read it"],
    );
    says(
        "actions.ageDecrypt { file = \"x\"; identity = \"${./expression.nix}\"; }",
        &["actions.ageDecrypt.identity", "everybody can read it"],
    );
    says(
        "envProviders.file { path = ./expression.nix; }",
        &["envProviders.file.path", "everybody can read it"],
    );
    says(
        "actions.vaultLoad { path = \"x\"; token = \"secret\"; }",
        &["actions.vaultLoad: unknown argument `token` (known: addr, path, variables; and "],
    );
    says(
        "actions.checkout { path = \"../x\"; }",
        &["actions.checkout.path", "inside the workspace"],
    );
    says(
        "actions.checkout { ref = \"--upload-pack=x\"; }",
        &["actions.checkout.ref", "branch, tag or commit"],
    );
    says(
        "actions.setupNode { version = \"99\"; }",
        &["actions.setupNode: these `pkgs` have no `nodejs_99`, only: nodejs_20"],
    );
    says(
        "actions.setupNode { version = 20; package = pkgs.jq; }",
        &["actions.setupNode: both `version` and `package`"],
    );
    says(
        "actions.nixShell [ \"curll\" ]",
        &["actions.nixShell: these `pkgs` have no `curll`"],
    );
    says(
        "actions.nixShell \"curl\"",
        &["actions.nixShell: expected a list of packages"],
    );
    says(
        "actions.nixShell [ 3 ]",
        &["actions.nixShell: expected packages, or their names, found a int"],
    );
    says(
        "actions.requireEnv [ \"A B\" ]",
        &["actions.requireEnv", "name of a variable"],
    );
    says(
        "actions.requireEnv \"A\"",
        &[
            "actions.requireEnv: expected a list of names of variables, as in `actions.requireEnv [ \"API_KEY\" ]`",
        ],
    );
    says(
        "envProviders.required [ ]",
        &["envProviders.required: expected a list of names"],
    );
    says(
        "envProviders.static { \"A-B\" = \"x\"; }",
        &["`A-B' in `envProviders.static' is not a name of a variable"],
    );
    says(
        "envProviders.command { name = \"A B\"; bash = \"x\"; }",
        &["envProviders.command.name", "name of a variable"],
    );
    says(
        "jobs.buildahBuildPush { image = \"app\"; }",
        &[
            "jobs.buildahBuildPush: `app` names no registry to push to: set `registry`, or `push = false`",
        ],
    );
    says(
        "jobs.buildahBuildPush { image = \"a/b\"; tags = [ ]; }",
        &["jobs.buildahBuildPush.tags"],
    );
    says(
        "jobs.buildahBuildPush { image = \"a/b\"; steps = [ ]; }",
        &["jobs.buildahBuildPush: unknown argument `steps` (known: "],
    );
}

fn packages_that_are_not_there_are_missed_only_where_they_are_used(language: &Language) {
    // Without the overlay that has the tools.
    let bare =
        "(let root = ROOT; pkgs = import (root + \"/tests/nix/pkgs.nix\") { inherit lib; }; in import (root + \"/nix\") { inherit pkgs; })"
            .replace("ROOT", env!("CARGO_MANIFEST_DIR"));
    let names = language.eval(&format!("builtins.attrNames {bare}.actions"));
    assert!(
        names.as_array().is_some_and(|names| names.len() == 15),
        "{names}"
    );
    let plan = language.eval(&format!(
        "({bare}.mkWorkflow {{ name = \"w\"; jobs.a = {{ envFrom = [ ({bare}.envProviders.static {{ A = \"x\"; }}) ]; steps = [ {bare}.actions.checkout ({bare}.actions.requireEnv [ \"A\" ]) ]; }}; }}).plan.jobs.a.steps"
    ));
    assert!(
        plan.as_array().is_some_and(|steps| steps.len() == 2),
        "{plan}"
    );
    for (expression, said) in [
        (
            "actions.sopsLoad { file = \"x\"; }",
            "actions.sopsLoad: it needs `pkgs.sops`, which these `pkgs` do not have",
        ),
        (
            "actions.npmTest",
            "actions.npmTest: it needs `pkgs.nodejs`, which",
        ),
        (
            "actions.opLoad { vault = \"a\"; item = \"b\"; }",
            "actions.opLoad: it needs `pkgs._1password-cli`, which",
        ),
    ] {
        let error = language.fails(&format!("\"${{{bare}.{expression}}}\""));
        assert!(error.contains(said), "{expression}: {error}");
    }
}

fn every_function_and_argument_is_documented(language: &Language) {
    let page = page();
    let said =
        |word: &str| page.contains(&format!("`{word}`")) || page.contains(&format!("`{word} = "));
    for (set, least) in [("actions", 15), ("envProviders", 5), ("jobs", 1)] {
        let names = language.eval(&format!("builtins.attrNames {set}"));
        let names: Vec<&str> = names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str())
            .collect();
        assert!(names.len() >= least, "{names:?}");
        for name in names {
            assert!(
                said(name),
                "docs/actions.md does not tell of `{set}.{name}`"
            );
            // Those that take lists, or names of variables, have no arguments of their own.
            if ["nixShell", "requireEnv", "required", "static"].contains(&name) {
                continue;
            }
            let error = language.fails(&format!("({set}.{name} {{ unknown = 1; }}).name"));
            for argument in known_of(&error) {
                assert!(
                    said(&argument),
                    "docs/actions.md does not tell of `{argument}` of `{set}.{name}`"
                );
            }
        }
    }
}

/// Returns the arguments that an error says are known.
fn known_of(error: &str) -> Vec<String> {
    let list = error
        .split("(known: ")
        .nth(1)
        .and_then(|rest| rest.split([';', ')']).next())
        .unwrap_or_else(|| panic!("it says not what is known: {error}"));
    list.split(", ").map(str::to_owned).collect()
}

fn examples_of_the_documentation_are_workflows(language: &Language) {
    for file in ["secrets.yaml", "token.age"] {
        fs::write(language.directory.path().join(file), "encrypted")
            .expect("the directory is ours");
    }
    let page = page();
    let examples: Vec<&str> = page
        .split("```nix job\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 6, "the examples are gone");
    for example in examples {
        let plan = language.eval(&format!(
            "(mkWorkflow {{ name = \"example\"; jobs.example = {example}; }}).plan"
        ));
        let text = plan.to_string();
        let parsed = nixactions::plan::parse(text.as_bytes())
            .unwrap_or_else(|faults| panic!("{example}: {faults}"));
        assert_eq!(nixactions::plan::unsupported(&parsed), [], "{example}");
    }
}
