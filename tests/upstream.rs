//! docs/coming-from-bash-nixactions.md: each row names a test that is there, each such test is
//! named by a row, and no name that the language knows of the bash compiler is left out.
//!
//! The tests themselves are numbered workflows (tests/language.rs, 201 to 299) and cases of
//! conformance.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, fs, path::Path};

use nixactions_harness::{Evaluator, or_skip};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/coming-from-bash-nixactions.md")).unwrap()
}

/// Returns the names in a folder, without their extensions.
fn names_in(folder: &str) -> BTreeSet<String> {
    fs::read_dir(repository().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .map(|name| name.trim_end_matches(".toml").to_owned())
        .collect()
}

/// Returns the tests in the last column of the page's tables.
fn named() -> BTreeSet<String> {
    let page = page();
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
        .filter(|line| !line.ends_with("| held by |"))
        .collect();
    assert!(rows.len() > 30, "the tables are gone");
    rows.iter()
        .flat_map(|row| {
            let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let tests: Vec<_> = tests
                .split(", ")
                .map(|test| test.trim_matches('`').to_owned())
                .collect();
            assert!(!tests.is_empty(), "{row}");
            tests
        })
        .collect()
}

#[test]
fn each_row_names_a_test_that_is_there() {
    let mut there = names_in("tests/nix/workflows");
    there.extend(names_in("tests/conformance/cases"));
    let missing: Vec<_> = named().difference(&there).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_workflow_of_the_bash_compilers_is_in_a_row() {
    let named = named();
    let forgotten: Vec<_> = names_in("tests/nix/workflows")
        .into_iter()
        .filter(|name| name.starts_with('2') && !named.contains(name))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn each_name_of_the_bash_compilers_is_in_a_row() {
    let evaluator = or_skip!(Evaluator::host());
    let found = evaluator.eval(&format!(
        "let older = import {}/nix/bash-compiler.nix {{ lib = import <nixpkgs/lib>; }}; \
         names = builtins.attrNames; in \
         builtins.concatMap (what: names older.renamed.${{what}}) (names older.renamed) \
         ++ builtins.concatMap (what: names older.ignored.${{what}}) (names older.ignored) \
         ++ map (name: \"$\" + name) (names older.variables) ++ names older.missing \
         ++ map (name: \"executors.\" + name) (names older.executors) \
         ++ map (name: \"nixactions.\" + name) (names older.library)",
        repository().display()
    ));
    let found: Vec<String> =
        serde_json::from_value(found.result.unwrap_or_else(|error| panic!("{error}"))).unwrap();
    assert!(found.len() > 15, "{found:?}");
    let page = page();
    let missing: Vec<_> = found
        .iter()
        .filter(|name| {
            // As a word of its own in a span of code: `name`, `"name"`, `$name`.
            ![
                format!("`{name}"),
                format!("`\"{name}"),
                format!("`${name}"),
            ]
            .iter()
            .any(|text| page.contains(text))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
