//! The examples in Nix: none is left out of the list, and each says what it shows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Returns the files of the examples, relative to their folder.
fn files() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for group in ["01-basic", "02-features", "03-real-world"] {
        for entry in fs::read_dir(examples().join(group)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            found.insert(if entry.path().is_dir() { format!("{group}/{name}/ci.nix") } else { format!("{group}/{name}") });
        }
    }
    found
}

/// Returns the name of an example's workflow.
fn name(file: &str) -> &str {
    let path = file.strip_suffix("/ci.nix").or(file.strip_suffix(".nix")).expect("an example is a file of Nix");
    path.rsplit('/').next().expect("a path has a last part")
}

#[test]
fn every_file_is_listed_and_described() {
    let list = fs::read_to_string(examples().join("default.nix")).unwrap();
    let listed: BTreeSet<_> = list
        .lines()
        .filter_map(|line| line.trim().split_once(" = ./"))
        .map(|(name, file)| (file.trim_end_matches(';').to_owned(), name.to_owned()))
        .collect();
    let there: BTreeSet<_> = files().into_iter().map(|file| (file.clone(), name(&file).to_owned())).collect();
    assert_eq!(listed, there);
    let readme = fs::read_to_string(examples().join("README.md")).unwrap();
    for file in files() {
        let row = format!("| [{}]({file}) | ", name(&file));
        assert!(readme.contains(&row), "README.md has no row `{row}`");
        let text = fs::read_to_string(examples().join(&file)).unwrap();
        assert!(text.starts_with("# ") && text.contains("\n# Look at: "), "{file} does not say what it shows, and what to look at");
        assert!(text.contains(&format!("name = \"{}\";", name(&file))), "{file} is not called as its file is");
    }
}
