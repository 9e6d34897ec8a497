//! Holds the layers that `src/lib.rs` draws: imports point down only, and modules of one layer
//! never import each other. cargo holds them between crates, and this test within them. `circles`
//! looks at the files of each module.
//!
//! Reads the sources as syntax, so that neither comments nor the way an import is written matter.
//! Knows nothing of what the modules do.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use syn::{
    UseTree,
    visit::{self, Visit},
};

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/port.rs"]
mod port;

/// The layers, lowest first.
const LAYERS: [&[&str]; 15] = [
    &["expression"],
    CENTRAL,
    &["programs"],
    &["plan"],
    &["graph"],
    &["unit"],
    &["store"],
    &["report"],
    &["images"],
    &["within"],
    &["systemd", "overlay", "roots", "language"],
    &["supervisor", "runner", "embedded"],
    &["interrupts"],
    &["start", "follow", "shell"],
    &["cli"],
];

/// The central types, crates/core, are one module in several files: they may name each other.
const CENTRAL: &[&str] = &[
    "bounds",
    "catalog",
    "claims",
    "conclusion",
    "conditions",
    "error",
    "event",
    "grace",
    "ids",
    "image",
    "log",
    "names",
    "origin",
    "paths",
    "reason",
    "record",
    "service",
    "settings",
    "spec",
    "status",
];

/// Crates that are one module each, but for those of their files that stand in [`LAYERS`]
/// themselves.
const ONE_MODULE: &[&str] = &["expression", "plan", "store", "images", "runner"];

const MAX_LINES: usize = 600;
const MAX_LINES_MAIN: usize = 30;

#[test]
fn imports_point_down() {
    let sources = sources();
    assert!(sources.len() > 100, "{sources:?}");
    let violations: Vec<_> = sources
        .iter()
        .flat_map(|path| violations(path, &read(path)))
        .collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let files: Vec<_> = ["src", "crates", "tests", "benches", "fuzz"]
        .into_iter()
        .flat_map(rust_files)
        .collect();
    let faults: Vec<_> = files
        .iter()
        .filter_map(|path| file_fault(path, &read(path)))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A runner starts in any root file system: it asks for no dynamic linker and no library.
#[test]
fn runner_is_a_static_program() {
    let runner = Path::new(env!("CARGO_BIN_EXE_nixactions-runner"));
    let output = Command::new("readelf")
        .args(["--wide", "--program-headers", "--dynamic"])
        .arg(runner)
        .output()
        .expect("binutils are there, where programs are linked");
    let headers = String::from_utf8_lossy(&output.stdout);
    assert!(headers.contains("LOAD"), "{headers}");
    for dynamic in ["INTERP", "(NEEDED)"] {
        assert!(
            !headers.contains(dynamic),
            "is there no `libc.a`? {headers}"
        );
    }
    // It runs with nothing else, and is the program that systemd starts.
    let output = Command::new(runner).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// A runner starts for each job, and on any machine: it is small.
#[test]
fn runner_reaches_neither_bus_nor_async_nor_command_line_nor_schema() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package=nixactions-runner", "--edges=normal"])
        .args(["--prefix=none", "--format={lib}", "--offline"])
        .current_dir(repository())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8_lossy(&output.stdout);
    // cargo marks packages that it has listed before.
    let names: BTreeSet<_> = tree.split_whitespace().collect();
    assert!(names.contains("nixactions_store"), "{names:?}");
    let unwanted = [
        "zbus",
        "tokio",
        "clap",
        "schemars",
        "nixactions_plan",
        "nixactions_engine",
        "nixactions",
    ];
    let reached: Vec<_> = unwanted
        .into_iter()
        .filter(|name| names.contains(name))
        .collect();
    assert!(reached.is_empty(), "the runner reaches {reached:?}");
}

/// Returns the faults in the imports of a source file, a line each. `path` is relative to the
/// repository.
fn violations(path: &Path, text: &str) -> Vec<String> {
    let (home, module) = module_of(path);
    let own = match module.first() {
        // The crate's root names all modules, and the programs are above them all.
        None => return Vec::new(),
        Some(own) if own == "main" => return Vec::new(),
        Some(own) => of_crate(&home, own),
    };
    let place = path.display();
    let height = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let Some(mine) = height(&own) else {
        return vec![format!(
            "{place}: module `{own}` stands in no layer: add it to LAYERS"
        )];
    };

    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut imports = Imports {
        home,
        module,
        found: BTreeSet::new(),
    };
    imports.visit_file(&file);
    let verdict = |import: &String| match height(import) {
        _ if *import == own => None,
        None => Some(format!(
            "{place}: imports `{import}`, which stands in no layer"
        )),
        Some(its) if its > mine => Some(format!(
            "{place}: `{own}` imports `{import}`, which lies above it"
        )),
        Some(its) if its == mine && LAYERS[mine] != CENTRAL => Some(format!(
            "{place}: `{own}` imports `{import}` of the same layer"
        )),
        Some(_) => None,
    };
    imports.found.iter().filter_map(verdict).collect()
}

/// Returns the faults of a file as such.
fn file_fault(path: &Path, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let limit = if path == Path::new("src/main.rs") {
        MAX_LINES_MAIN
    } else {
        MAX_LINES
    };
    if !text.starts_with("//!") {
        Some(format!(
            "{}: does not begin with `//!`, which says what the file is for",
            path.display()
        ))
    } else if lines >= limit {
        Some(format!(
            "{}: {lines} lines, must be fewer than {limit}",
            path.display()
        ))
    } else {
        None
    }
}

/// Returns the crate of a source file, by its directory's name (the program's own is empty), and
/// the path of the module that it holds; that of the crate's root is empty.
fn module_of(path: &Path) -> (String, Vec<String>) {
    let path = path.with_extension("");
    let parts: Vec<_> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let (home, mut module) = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crates", home, "src", ..] => (home.to_owned(), parts[3..].to_vec()),
        _ => (String::new(), parts[1..].to_vec()),
    };
    module.pop_if(|last| last == "mod" || last == "lib");
    (home, module)
}

/// Returns the module in [`LAYERS`] that a name at a crate's root is.
fn of_crate(home: &str, name: &str) -> String {
    let is_placed = LAYERS.iter().any(|layer| layer.contains(&name));
    let is_part = ONE_MODULE.contains(&home) && !is_placed;
    if is_part { home } else { name }.to_owned()
}

/// Collects the crate's top-level modules that a file names.
struct Imports {
    /// The crate that is being visited.
    home: String,
    /// The module that is being visited.
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Imports {
    /// Takes note of a path, as its identifiers.
    fn path(&mut self, path: &[String]) {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let own = self.module.len();
        let first = path.first().map(String::as_str);
        let (home, top) = match first {
            // The second is the library's name in main.rs.
            Some("crate") => (self.home.as_str(), path.get(1)),
            Some("nixactions") => ("", path.get(1)),
            Some("super") if supers >= own => (self.home.as_str(), path.get(supers)),
            Some(name) => match name.strip_prefix("nixactions_") {
                Some(home) => (home, path.get(1)),
                None => return,
            },
            None => return,
        };
        let found = top
            .filter(|name| *name != "self" && *name != "*")
            .map(|name| of_crate(home, name));
        self.found.extend(found);
    }

    fn use_tree(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        let depth = prefix.len();
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.use_tree(&path.tree, prefix);
            }
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.use_tree(tree, prefix)),
            UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.path(prefix);
            }
            UseTree::Rename(name) => {
                prefix.push(name.ident.to_string());
                self.path(prefix);
            }
            UseTree::Glob(_) => self.path(prefix),
        }
        prefix.truncate(depth);
    }
}

impl Visit<'_> for Imports {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.path(
            &path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect::<Vec<_>>(),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        self.tokens(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }

    /// Attributes name modules in their tokens, and some (serde's) in strings.
    fn visit_meta_list(&mut self, list: &syn::MetaList) {
        self.tokens(&list.tokens.to_string());
        visit::visit_meta_list(self, list);
    }
}

impl Imports {
    /// Takes note of `crate::…` in tokens that are not parsed further.
    fn tokens(&mut self, tokens: &str) {
        let text = tokens.split_whitespace().collect::<String>();
        for (at, _) in text.match_indices("crate::") {
            let after = &text[at + "crate::".len()..];
            let name: String = after
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') && !name.is_empty()
            {
                self.found.insert(of_crate(&self.home, &name));
            }
        }
    }
}

/// Returns the Rust files below a directory of the repository, by their path in it; none if there
/// is no such directory.
fn rust_files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(repository().join(&dir)).into_iter().flatten() {
            let entry = entry.expect("a directory can be listed");
            let path = dir.join(entry.file_name());
            match entry.file_type().expect("a file has a type") {
                kind if kind.is_dir() && entry.file_name() != "target" => open.push(path),
                _ if path.extension().is_some_and(|extension| extension == "rs") => {
                    found.push(path)
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Returns the sources of all crates.
fn sources() -> Vec<PathBuf> {
    let crates = rust_files("crates").into_iter();
    rust_files("src")
        .into_iter()
        .chain(crates.filter(|path| path.iter().nth(2).is_some_and(|part| part == "src")))
        .collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).expect("a source file is UTF-8")
}

mod the_test_itself {
    //! Each rule is broken once, so that it is known to be held.

    use super::*;

    fn faults_of(path: &str, text: &str) -> usize {
        violations(Path::new(path), text).len()
    }

    #[test]
    fn finds_each_form_of_import_from_a_higher_layer() {
        for text in [
            "use crate::store::Layout;",
            "use crate::{ids::RunId, store};",
            "use crate::store as elsewhere;",
            "use crate::store::*;",
            "use super::store::Layout;",
            "mod inner { use super::super::store; }",
            "fn f() { crate::store::layout() }",
            "fn f(x: Vec<crate::store::Layout>) {}",
            "fn f() { println!(\"{}\", crate::store::NAME) }",
            "#[serde(with = \"crate::store::codec\")] struct S;",
            "mod tests { fn f() -> crate::store::Layout { todo!() } }",
        ] {
            assert_eq!(faults_of("crates/plan/src/graph.rs", text), 1, "{text}");
            assert_eq!(
                faults_of(
                    "src/cli/run.rs",
                    &text.replace("super::store", "crate::store")
                ),
                0,
                "{text}"
            );
        }
        assert_eq!(
            faults_of(
                "crates/plan/src/model.rs",
                "use super::super::store::Layout;"
            ),
            1
        );
    }

    #[test]
    fn sees_siblings_and_strangers() {
        assert_eq!(
            faults_of(
                "crates/engine/src/overlay.rs",
                "use crate::systemd::Manager;"
            ),
            1
        );
        assert_eq!(
            faults_of(
                "crates/runner/src/job.rs",
                "use crate::{supervisor, embedded};"
            ),
            2
        );
        assert_eq!(
            faults_of(
                "crates/engine/src/unit/value.rs",
                "use crate::utils::helper;"
            ),
            1
        );
        assert_eq!(
            faults_of("crates/plan/src/rules.rs", "use crate::graph::Graph;"),
            1
        );
        assert_eq!(
            faults_of("crates/store/src/lost.rs", "use nixactions_engine::unit;"),
            0
        );
        assert_eq!(
            faults_of(
                "crates/store/src/lost.rs",
                "use nixactions_engine::systemd;"
            ),
            1
        );
        assert_eq!(faults_of("src/utils.rs", "fn helper() {}"), 1);
        assert_eq!(faults_of("src/utils/mod.rs", "use crate::plan::Plan;"), 1);
    }

    #[test]
    fn lets_through_what_is_allowed() {
        assert_eq!(
            faults_of(
                "crates/plan/src/model.rs",
                "use crate::{ids::JobName, record}; use super::check; use crate::plan::schema;"
            ),
            0
        );
        assert_eq!(
            faults_of(
                "crates/core/src/event.rs",
                "use crate::{ids::RunId, record::Conclusion};"
            ),
            0
        );
        assert_eq!(
            faults_of(
                "crates/plan/src/graph.rs",
                "// use crate::store;\nuse std::fmt; const S: &str = \"crate::store\"; mod tests { use super::*; }"
            ),
            0
        );
        assert_eq!(
            faults_of("src/main.rs", "fn main() { nixactions::cli::main() }"),
            0
        );
        assert_eq!(faults_of("src/lib.rs", "pub mod cli; pub mod utils;"), 0);
    }

    #[test]
    fn sees_long_and_headless_files() {
        let fault = |path: &str, text: &str| file_fault(Path::new(path), text).is_some();
        assert!(fault("crates/plan/src/graph.rs", "use std::fmt;\n"));
        assert!(fault(
            "crates/plan/src/graph.rs",
            &"//! Long.\n".repeat(600)
        ));
        assert!(!fault(
            "crates/plan/src/graph.rs",
            &"//! Not long.\n".repeat(599)
        ));
        assert!(fault("src/main.rs", &"//! Long.\n".repeat(30)));
    }
}
