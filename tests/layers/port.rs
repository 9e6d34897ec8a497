//! Holds that only the runner's port knows that the run is a directory on this machine: no other
//! file of the runner names the paths of a run, its event files or the journal's socket.

use std::{collections::BTreeSet, path::Path};

use syn::visit::{self, Visit};

use super::{read, rust_files};

const RUNNER: &str = "crates/runner/src";
const PORT: &str = "crates/runner/src/port";

/// The names that only the port uses: types that know the paths of a run, fields of specs with such
/// paths, and functions that read files of a run.
const OF_PORT: [&str; 9] = [
    "EventTail",
    "EventWriter",
    "JobPaths",
    "MatrixPaths",
    "SECRETS_CREDENTIAL",
    "jobs_directory",
    "read_reason",
    "read_result",
    "shared_directory",
];

/// The beginning of each path of systemd.
const OF_SYSTEMD: &str = "/run/systemd/";

#[test]
fn only_the_port_of_the_runner_knows_the_paths_of_the_run() {
    let (port, others): (Vec<_>, Vec<_>) = rust_files(RUNNER)
        .into_iter()
        .partition(|path| path.starts_with(PORT));
    let found: Vec<_> = others
        .iter()
        .map(|path| (path, named(path, &read(path))))
        .filter(|(_, named)| !named.is_empty())
        .collect();
    assert!(found.is_empty(), "only the port may name: {found:#?}");
    // A name that the port does not use either is out of date.
    let used: BTreeSet<_> = port
        .iter()
        .flat_map(|path| named(path, &read(path)))
        .collect();
    let unused: Vec<_> = OF_PORT
        .iter()
        .filter(|name| !used.contains(**name))
        .collect();
    assert!(unused.is_empty(), "the port does not use {unused:?}");
    assert!(used.iter().any(|name| name.starts_with(OF_SYSTEMD)));
}

/// Returns the port's own names in a source file.
fn named(path: &Path, text: &str) -> BTreeSet<String> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names = Names::default();
    names.visit_file(&file);
    names.0
}

#[derive(Default)]
struct Names(BTreeSet<String>);

impl Visit<'_> for Names {
    fn visit_ident(&mut self, name: &syn::Ident) {
        let name = name.to_string();
        self.0.extend(OF_PORT.contains(&&*name).then_some(name));
    }

    fn visit_lit_str(&mut self, text: &syn::LitStr) {
        let text = text.value();
        self.0.extend(text.starts_with(OF_SYSTEMD).then_some(text));
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        let tokens = item.tokens.to_string();
        let words = tokens.split(|c: char| !c.is_alphanumeric() && c != '_');
        let words = words.filter(|word| OF_PORT.contains(word));
        self.0.extend(words.map(str::to_owned));
        visit::visit_macro(self, item);
    }
}

#[test]
fn sees_each_form_of_a_name() {
    for text in [
        "use crate::paths::JobPaths;",
        "fn f(spec: &S) { spec.shared_directory.join(\"killed\"); }",
        "fn f() { store::read_result(p) }",
        "fn f() { g!(spec.jobs_directory) }",
        "const S: &str = \"/run/systemd/journal/socket\";",
    ] {
        assert_eq!(named(Path::new("x.rs"), text).len(), 1, "{text}");
    }
    let fine = "// JobPaths\nfn f() { port.workspace(); let paths = \"JobPaths\"; }";
    assert!(named(Path::new("x.rs"), fine).is_empty());
}
