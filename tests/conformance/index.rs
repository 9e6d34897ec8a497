//! The index: which case holds which words of the contract, and which words no case holds.
//!
//! `docs/conformance.md` is made here (`NIXACTIONS_BLESS=1`) and checked for drift. Knows nothing
//! of how a case is played.

use std::{collections::BTreeMap, fs, path::Path};

use libtest_mimic::{Failed, Trial};

use serde_json::Value;

use crate::case::{Case, Container, File, Way, in_root};

/// The fewest letters of a piece of the contract that says anything.
const LETTERS: usize = 12;

const HEAD: &str = "\
# Conformance

This page lists the rules of the [contract](contract.md), sentence by sentence, and the cases that
test each rule. A case is a plan and what its run must leave. `cargo test --test conformance` runs
every case with the real program, on an embedded manager and on systemd 252, 257 and 262. A case
with a link to GitHub quotes GitHub's documentation.
[tests/conformance](../tests/conformance/README.md) explains how to write a case.

The same test writes this page (with `NIXACTIONS_BLESS=1`) and fails when the page is out of date.
";

const CONTAINERS: &str = "
The jobs of each case also run in a root file system of their own, and in containers of
systemd-nspawn: on one of these managers in turn, or on all of them with `NIXACTIONS_TEST_ALL=1`.
These cases do not:

| case | why |
| --- | --- |
";

/// Returns the tests of the cases as such.
pub fn trials(files: &[File]) -> Vec<Trial> {
    let of = |name: &str, test: fn(&[File]) -> Result<(), Failed>| {
        let files = files.to_vec();
        Trial::test(name, move || test(&files))
    };
    vec![
        of("cases_are_numbered_once", numbered_once),
        of("the_index_is_what_the_cases_say", index),
        of("a_case_in_a_container_has_a_job_there", has_contained_job),
    ]
}

fn numbered_once(files: &[File]) -> Result<(), Failed> {
    let mut seen = BTreeMap::new();
    for file in files {
        let (number, words) = file.name.split_once('-').unwrap_or_default();
        if number.len() != 3 || number.parse::<u16>().is_err() || words.is_empty() {
            return Err(format!(
                "`{}` is not named like `012-failed-need-skips-dependents`",
                file.name
            )
            .into());
        }
        if let Some(other) = seen.insert(number, &file.name) {
            return Err(format!("`{other}` and `{}` have the same number", file.name).into());
        }
    }
    Ok(())
}

/// Fails for a case whose jobs all stay on the host, unless it says why.
fn has_contained_job(files: &[File]) -> Result<(), Failed> {
    let (directory, image) = (Path::new("/case"), Path::new("/image"));
    for file in files {
        let case = file.case(directory);
        if case.not_in_a_root.is_some() {
            continue;
        }
        for way in [Way::Root, Way::Nspawn] {
            let plan = in_root(&case.plan, Container { image, way }, directory);
            let Ok(plan) = serde_json::from_str::<Value>(&plan) else {
                continue;
            };
            let jobs: Vec<&Value> = plan["jobs"]
                .as_object()
                .into_iter()
                .flat_map(|jobs| jobs.values())
                .collect();
            let is_moved = |job: &Value| {
                let executor = job["executor"].as_str().unwrap_or_default();
                plan["executors"][executor]["root"].is_string()
            };
            if !jobs.is_empty() && !jobs.into_iter().any(is_moved) {
                return Err(format!(
                    "{}: all jobs stay on the host: say why, in `not-in-a-root`",
                    file.name
                )
                .into());
            }
        }
    }
    Ok(())
}

fn index(files: &[File]) -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contract = fs::read_to_string(root.join("docs/contract.md"))?;
    let made = page(&contract, files)?;
    let path = root.join("docs/conformance.md");
    if std::env::var_os("NIXACTIONS_BLESS").is_some() {
        fs::write(&path, &made)?;
    }
    if fs::read_to_string(&path).unwrap_or_default() == made {
        Ok(())
    } else {
        Err("docs/conformance.md is not what the cases say: bless it".into())
    }
}

/// Makes the page; fails where a case quotes what the contract does not say.
fn page(contract: &str, files: &[File]) -> Result<String, Failed> {
    let cases: Vec<(&File, Case, String)> = files
        .iter()
        .map(|file| {
            let case = file.case(Path::new("/case"));
            let rule = plain(&case.rule);
            (file, case, rule)
        })
        .collect();
    let sections: Vec<(&str, String)> = contract
        .split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .map(|(title, text)| (title, plain(text)))
        .collect();
    for (file, case, rule) in &cases {
        if !sections
            .iter()
            .any(|(_, text)| text.contains(rule.as_str()))
        {
            return Err(format!("{}: the contract does not say: {rule}", file.name).into());
        }
        if case.github.as_ref().is_some_and(|source| {
            !source
                .page
                .starts_with("https://docs.github.com/en/actions/")
                || source.says.is_empty()
        }) {
            return Err(format!(
                "{}: `github` names no page of GitHub's documentation, or no words of it",
                file.name
            )
            .into());
        }
    }
    let mut out = HEAD.to_owned();
    out.push_str(&format!("\n{} cases.\n", cases.len()));
    out.push_str(CONTAINERS);
    for (file, case, _) in &cases {
        if let Some(reason) = &case.not_in_a_root {
            out.push_str(&format!("| {} | {reason} |\n", file.name));
        }
    }
    for (title, text) in &sections {
        let mut rules: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        for (file, case, rule) in &cases {
            if let Some(start) = text.find(rule.as_str()) {
                let github = case.github.as_ref().map_or_else(String::new, |source| {
                    format!(" ([GitHub]({}))", source.page)
                });
                let number = &file.name[..3];
                rules
                    .entry((start, start + rule.len()))
                    .or_default()
                    .push(format!(
                        "[{number}](../tests/conformance/cases/{}.toml){github}",
                        file.name
                    ));
            }
        }
        out.push_str(&format!(
            "\n## {title}\n\n| the contract | cases |\n| --- | --- |\n"
        ));
        for ((start, end), cases) in &rules {
            out.push_str(&format!(
                "| {} | {} |\n",
                cell(&text[*start..*end]),
                cases.join(", ")
            ));
        }
        let gaps: Vec<_> = gaps(text, rules.keys().copied())
            .into_iter()
            .map(|gap| format!("- {gap}\n"))
            .collect();
        if !gaps.is_empty() {
            out.push_str(&format!("\nNo case tests:\n\n{}", gaps.concat()));
        }
    }
    Ok(out)
}

/// Returns a text as one line: without blocks of code, line breaks and the marks of lists.
fn plain(text: &str) -> String {
    let mut code = false;
    let mut words = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            code = !code;
        } else if !code {
            words.extend(line.strip_prefix("- ").unwrap_or(line).split_whitespace());
        }
    }
    words.join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Returns the pieces of a text that no span covers and that say something.
fn gaps(text: &str, spans: impl Iterator<Item = (usize, usize)>) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    for (start, end) in spans.chain([(text.len(), text.len())]) {
        if start > at {
            found.extend(
                text[at..start]
                    .split(". ")
                    .map(|piece| piece.trim_matches([' ', ';', ',', '.', ':'])),
            );
        }
        at = at.max(end);
    }
    found.retain(|gap| gap.chars().filter(|letter| letter.is_alphabetic()).count() >= LETTERS);
    found
}
