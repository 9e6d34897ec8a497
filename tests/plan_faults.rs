//! Numbered plans and the faults they have: `tests/plan/<nnn>-<rule>/{plan.json,faults.txt}`.
//!
//! A plan without `faults.txt` is good. `NIXACTIONS_BLESS=1` writes what the program says now.

use std::{fs, path::Path};

use nixactions::plan::{self, PlanError};

#[test]
fn each_plan_has_exactly_its_faults() {
    let bless = std::env::var_os("NIXACTIONS_BLESS").is_some();
    let mut folders: Vec<_> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
    folders.sort();
    assert!(folders.len() > 50, "the fixtures are gone");
    let mut wrong = Vec::new();
    for folder in folders {
        let file = folder.join("faults.txt");
        let expected = fs::read_to_string(&file).unwrap_or_default();
        let found = plan::parse(&fs::read(folder.join("plan.json")).unwrap())
            .map_or_else(|faults| format!("{faults}\n"), |_| String::new());
        if found == expected {
            continue;
        }
        if !bless {
            wrong.push(format!(
                "--- {}: expected\n{expected}--- found\n{found}",
                folder.display()
            ));
        } else if found.is_empty() {
            fs::remove_file(&file).unwrap();
        } else {
            fs::write(&file, found).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_directory_stands_for_its_plan() {
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/002-good-least");
    assert_eq!(
        plan::load(&good).unwrap(),
        plan::load(&good.join("plan.json")).unwrap()
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = plan::load(Path::new("/nowhere/plan.json")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to read the plan `/nowhere/plan.json`"
    );
}

#[test]
fn a_plan_that_is_too_large_is_refused_by_its_size() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(100_000_000).unwrap();
    let PlanError::Faulty { faults, .. } = plan::load(file.path()).unwrap_err() else {
        panic!("it was read")
    };
    assert_eq!(
        faults.to_string(),
        "$: found 100000000 bytes, expected at most 67108864 bytes (64 MiB)"
    );
}

#[test]
fn the_error_of_a_faulty_file_names_it_and_all_its_faults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/003-empty-file");
    let text = plan::load(&folder).unwrap_err().to_string();
    assert!(
        text.ends_with("/plan.json` has a fault:\n$: found an empty file, expected a plan in JSON"),
        "{text}"
    );
}
