//! Holds that the files of a crate do not name each other in a circle.
//!
//! A file names another one if it writes the path of an item there, also if it takes the item from
//! a module that re-exports it. A file and the files of the modules below it may name each other:
//! a module wires its parts, and they use what it holds. Modules of tests do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{
    Item, UseTree, Visibility,
    visit::{self, Visit},
};

use super::{read, rust_files};

/// The most re-exports that one path goes through.
const EXPORTS_MAX: usize = 8;

/// The path of a module in its crate; that of the root is empty.
type Module = Vec<String>;

#[test]
fn files_do_not_name_each_other_in_a_circle() {
    let crates = crates();
    assert!(crates.len() > 10, "{:?}", crates.keys());
    let circles: Vec<_> = crates
        .values()
        .filter_map(|files| circle(files.iter().map(|path| (path.clone(), read(path)))))
        .collect();
    assert!(
        circles.is_empty(),
        "these files name each other; move what they share into a file below them:\n{}",
        circles.join("\n")
    );
}

/// Returns the files of each crate, by the directory of its root.
fn crates() -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut crates: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in ["src", "crates", "tests", "benches"]
        .into_iter()
        .flat_map(rust_files)
    {
        let is_root = |directory: &&Path| {
            ["lib.rs", "main.rs"]
                .iter()
                .any(|root| super::repository().join(directory).join(root).exists())
        };
        let root = path.ancestors().skip(1).filter(is_root).last();
        if let Some(root) = root.map(Path::to_owned) {
            crates.entry(root).or_default().push(path);
        }
    }
    crates
}

/// Returns a circle among the files of a crate, if there is one: their paths, joined by arrows.
fn circle(files: impl IntoIterator<Item = (PathBuf, String)>) -> Option<String> {
    let files: Vec<_> = files.into_iter().collect();
    let root = files
        .iter()
        .filter(|(path, _)| path.ends_with("lib.rs") || path.ends_with("main.rs"))
        .map(|(path, _)| path.parent().unwrap_or(Path::new("")))
        .min_by_key(|path| path.components().count())?;
    let mut sources: BTreeMap<Module, Source> = BTreeMap::new();
    let mut of_tests = BTreeSet::new();
    for (path, text) in &files {
        let module = module_of(path.strip_prefix(root).ok()?);
        let mut source = Source {
            path: path.clone(),
            module: module.clone(),
            ..Source::default()
        };
        let file =
            syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        source.visit_file(&file);
        of_tests.extend(source.of_tests.drain(..));
        // The crate's library and its program have the same path. The program is above.
        if !path.ends_with("main.rs") || !sources.contains_key(&module) {
            sources.insert(module, source);
        }
    }
    sources.retain(|module, _| !of_tests.iter().any(|of_tests| module.starts_with(of_tests)));
    let named: BTreeMap<&Module, BTreeSet<Module>> = sources
        .iter()
        .map(|(module, source)| {
            let others = source.paths.iter().map(|path| file_of(&sources, path));
            let is_related =
                |other: &Module| other.starts_with(module) || module.starts_with(other);
            (module, others.filter(|other| !is_related(other)).collect())
        })
        .collect();
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    let found = named
        .keys()
        .find_map(|module| search(module, &named, &mut way, &mut done))?;
    let paths: Vec<_> = found
        .iter()
        .map(|module| sources[module].path.display().to_string())
        .collect();
    Some(paths.join(" -> "))
}

/// Follows the names from a module, and returns the first circle that it meets.
fn search(
    module: &Module,
    named: &BTreeMap<&Module, BTreeSet<Module>>,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(begin) = way.iter().position(|passed| passed == module) {
        return Some([&way[begin..], std::slice::from_ref(module)].concat());
    }
    if !done.insert(module.clone()) {
        return None;
    }
    way.push(module.clone());
    let others = named.get(module).into_iter().flatten();
    let found = others
        .into_iter()
        .find_map(|other| search(other, named, way, done));
    way.pop();
    found
}

/// Returns the module that a file holds. `path` is relative to the root of the crate.
fn module_of(path: &Path) -> Module {
    let mut module: Module = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_root = module.len() == 1 && (module[0] == "lib" || module[0] == "main");
    module.pop_if(|last| is_root || last == "mod");
    module
}

/// Returns the module whose file has the item at a path.
fn file_of(sources: &BTreeMap<Module, Source>, path: &[String]) -> Module {
    let mut path = path.to_vec();
    for _ in 0..EXPORTS_MAX {
        let is_module = |length: &usize| sources.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_module).unwrap_or(0);
        let module = path[..length].to_vec();
        let (Some(source), Some(name)) = (sources.get(&module), path.get(length)) else {
            return module;
        };
        if source.items.contains(name) {
            return module;
        }
        let of_glob = |from: &&Module| {
            let from = sources.get(*from);
            from.is_some_and(|from| from.items.contains(name))
        };
        let exported = source.exports.get(name).cloned().or_else(|| {
            let from = source.globs.iter().find(of_glob)?;
            Some([&from[..], std::slice::from_ref(name)].concat())
        });
        match exported {
            Some(exported) => path = [&exported[..], &path[length + 1..]].concat(),
            None => return module,
        }
    }
    panic!("`{}` is re-exported in a circle", path.join("::"));
}

/// A source file.
#[derive(Default)]
struct Source {
    path: PathBuf,
    module: Module,
    /// The names of its items.
    items: BTreeSet<String>,
    /// The names that it imports or re-exports, each with its path in the crate.
    exports: BTreeMap<String, Vec<String>>,
    /// The modules all of whose names it imports or re-exports.
    globs: Vec<Module>,
    /// All paths in it that lead into the crate.
    paths: BTreeSet<Vec<String>>,
    /// Its modules that only tests have.
    of_tests: Vec<Module>,
}

impl Source {
    /// Returns a path from the crate's root. Returns `None` for a path that leads elsewhere.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let (base, rest) = match path.first()?.as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (&self.module[..], &path[1..]),
            "super" => {
                let above = self.module.len().checked_sub(supers)?;
                (&self.module[..above], &path[supers..])
            }
            _ => return None,
        };
        let rest = rest.iter().filter(|name| *name != "self");
        Some(base.iter().chain(rest).cloned().collect())
    }

    fn add(&mut self, path: &[String]) {
        self.paths.extend(self.absolute(path));
    }

    /// Takes note of what a `use` names. Modules below this one see names that are not public, too.
    fn use_tree(&mut self, tree: &UseTree, prefix: &[String], exports: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.use_tree(&path.tree, &with(&path.ident), exports),
            UseTree::Group(group) => {
                let items = group.items.iter();
                return items.for_each(|tree| self.use_tree(tree, prefix, exports));
            }
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(name) => (with(&name.ident), Some(name.rename.to_string())),
            UseTree::Glob(_) => (prefix.to_vec(), None),
        };
        if !exports {
            self.add(&path);
        }
        // A path that begins with a name leads to a module of this one, or to another crate.
        let from = self
            .absolute(&path)
            .unwrap_or_else(|| [&self.module[..], &path].concat());
        match name {
            Some(name) => drop(self.exports.insert(name, from)),
            None => self.globs.push(from),
        }
    }

    /// Takes note of the paths in tokens that are not parsed further.
    fn tokens(&mut self, tokens: &str) {
        let text = [" :: ", ":: ", " ::"]
            .iter()
            .fold(tokens.to_owned(), |text, colons| text.replace(colons, "::"));
        let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in text.split(|c| !is_of_path(c)) {
            let names: Vec<_> = path.split("::").map(str::to_owned).collect();
            self.add(&names);
        }
    }
}

fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}

impl Visit<'_> for Source {
    fn visit_item(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            _ => None,
        };
        self.items.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.module.push(item.ident.to_string());
        if is_of_tests(&item.attrs) {
            self.of_tests.push(self.module.clone());
        } else {
            visit::visit_item_mod(self, item);
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let exports = !matches!(item.vis, Visibility::Inherited);
        self.use_tree(&item.tree, &[], exports);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.add(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        self.tokens(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }

    /// Attributes name items in their tokens, and some (serde's) in strings.
    fn visit_meta_list(&mut self, list: &syn::MetaList) {
        self.tokens(&list.tokens.to_string());
        visit::visit_meta_list(self, list);
    }
}

mod the_test_itself {
    use super::*;

    /// Returns the circle in a made-up crate, where `lib.rs` has these lines.
    fn found(lib: &str, files: &[(&str, &str)]) -> Option<String> {
        let files = [("lib.rs", lib)].into_iter().chain(files.iter().copied());
        circle(files.map(|(path, text)| (PathBuf::from(path), text.to_owned())))
    }

    #[test]
    fn names_the_files_of_a_circle() {
        let circles = [
            "use crate::a::A;",
            "use super::a::{self, B};",
            "use crate::{a, z};",
            "fn f() -> crate::a::A { todo!() }",
            "fn f() { g!(super::a::A) }",
            "#[serde(with = \"crate::a\")] struct S;",
            "mod inner { use super::super::a::A; }",
            // Through re-exports.
            "use crate::A;",
            "use super::All;",
            "fn f() { crate::Renamed::new() }",
        ];
        let lib = "pub use a::{A, B as Renamed}; pub use self::a::*;";
        let a = "use crate::b::c; pub struct A; pub struct B; pub fn All() {}";
        for b in circles {
            let circle = found(lib, &[("a.rs", a), ("b.rs", b)]);
            assert_eq!(circle.as_deref(), Some("a.rs -> b.rs -> a.rs"), "{b}");
        }
        let longer = [
            ("x/mod.rs", "mod a; mod b; mod c;"),
            ("x/a.rs", "use super::b::B;"),
            ("x/b.rs", "use super::c::C;"),
            ("x/c.rs", "use crate::x::a::A;"),
        ];
        let circle = found("mod x;", &longer);
        let expected = "x/a.rs -> x/b.rs -> x/c.rs -> x/a.rs";
        assert_eq!(circle.as_deref(), Some(expected));
    }

    #[test]
    fn lets_through_what_is_allowed() {
        let fine: [(&str, &[(&str, &str)]); 4] = [
            // A module and its parts.
            (
                "pub mod x; use x::X;",
                &[
                    (
                        "x.rs",
                        "mod y; pub use y::Y; pub struct X; fn f() -> y::Y { y::Y }",
                    ),
                    ("x/y.rs", "use super::X; use crate::Z; pub struct Y;"),
                ],
            ),
            // Tests.
            (
                "",
                &[
                    ("a.rs", "use crate::b::B;"),
                    ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
                ],
            ),
            (
                "",
                &[
                    ("a.rs", "#[cfg(test)] mod tests; use crate::b::B;"),
                    ("a/tests.rs", "use crate::b::B;"),
                    ("b.rs", ""),
                ],
            ),
            // Text, and another crate's module of the same name.
            (
                "",
                &[
                    ("a.rs", "use crate::b::B;"),
                    (
                        "b.rs",
                        "// crate::a::A\nconst S: &str = \"in crate::a\"; use other::a::A;",
                    ),
                ],
            ),
        ];
        for (lib, files) in fine {
            assert_eq!(found(lib, files), None, "{files:?}");
        }
    }
}
