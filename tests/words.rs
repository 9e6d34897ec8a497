//! Holds the style of comments and messages: some phrases must not occur in the Rust and Nix files
//! of the repository, and comments have at most 100 columns.
//!
//! Each phrase stands for a kind of sentence that readers had to read twice. Knows nothing of the
//! other rules of style, which no program can check.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directories and files that hold the rules.
const CLEAN: &[&str] = &[
    "benches",
    "build.rs",
    "crates",
    "fuzz/fuzz_targets",
    "home",
    "nix",
    "nixos",
    "src",
    "tests",
    "vm-tests",
];

/// Phrases that must not begin a comment, each with advice.
const BEGINNINGS: &[(&str, &str)] = &[
    ("What ", "name the thing: \"The request.\""),
    ("Who ", "name the actor"),
    ("Whatever ", "name the thing"),
    ("How many ", "\"The number of …\" or \"The most …\""),
    ("How long ", "\"The time …\" or \"The longest …\""),
    ("How often ", "\"The number of …\""),
];

/// Phrases that must not occur in a comment or text, each with advice.
const PHRASES: &[(&str, &str)] = &[
    ("whoever", "name the actor"),
    ("Whoever ", "name the actor"),
    ("somebody", "name the actor"),
    ("Returns what ", "name the thing: \"Returns the lines …\""),
    (" the one above", "\"its parent\", or name the thing"),
    (" of which ", "start a new sentence"),
    (" is no ", "\"is not a …\", or \"invalid …\" in an error"),
    (" are no ", "\"are not …\""),
];

/// Words that must not begin the name of a function, as in `what_is_left_is_removed`.
const QUESTIONS: &[&str] = &["what_", "whatever_", "who_"];

/// Words that look like one of these phrases but are plain.
const GOOD: &[&str] = &["here is no ", "here are no ", "no longer"];

const COLUMNS_MAX: usize = 100;

#[test]
fn comments_and_messages_are_in_plain_words() {
    let files = files();
    assert!(files.len() > 70, "{files:?}");
    let faults: Vec<String> = files
        .iter()
        .filter(|path| !path.ends_with("tests/words.rs"))
        .flat_map(|path| faults(path, &fs::read_to_string(path).expect("a file is UTF-8")))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Returns the faults of one file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let (mark, sign) = match path.extension() {
        Some(extension) if extension == "nix" => ("#", '#'),
        _ => ("//", '/'),
    };
    let mut found = Vec::new();
    let mut fault = |line: usize, text: &str, advice: &str| {
        found.push(format!("{}:{line}: {text}: {advice}", path.display()));
    };
    let is_rust = mark == "//";
    // The end of the line before, for phrases that a line break divides.
    let mut before = String::new();
    for (index, line) in text.lines().enumerate() {
        let (number, line_text) = (index + 1, line.trim());
        let is_comment = line_text.starts_with(mark);
        let words = match is_comment {
            true => line_text.trim_start_matches([sign, '!']).trim(),
            false => line_text,
        };
        if is_comment {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && words.contains(' ') {
                fault(number, &format!("{columns} columns"), "break the line");
            }
            let is_first = before.is_empty() || before.ends_with(['.', ':', '?']);
            for (phrase, advice) in BEGINNINGS {
                if is_first && words.starts_with(phrase) {
                    fault(number, words, advice);
                }
            }
        }
        let mut joined = format!("{before} {words} ");
        for good in GOOD {
            joined = joined.replace(good, &"x".repeat(good.len()));
        }
        for (phrase, advice) in PHRASES {
            let is_new = joined
                .rfind(phrase)
                .is_some_and(|at| at + phrase.len() > before.len() + 1);
            if is_new {
                fault(number, words, advice);
            }
        }
        let function = line_text.strip_prefix("fn ").filter(|_| is_rust);
        if let Some(name) = function
            && QUESTIONS.iter().any(|word| name.starts_with(word))
        {
            fault(number, line_text, "name the thing or the actor");
        }
        before = match is_comment {
            true => words.to_owned(),
            false => String::new(),
        };
    }
    found
}

/// Returns the Rust and Nix files that hold the rules.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = CLEAN.iter().map(|path| root.join(path)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory can be listed");
            open.extend(entries.map(|entry| entry.expect("an entry can be read").path()));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "nix")
        {
            found.push(path);
        }
    }
    found
}

mod the_test_itself {
    //! Breaks each rule once, so that a rule that finds nothing is noticed.

    use super::*;

    fn count(text: &str) -> usize {
        faults(Path::new("a.rs"), text).len()
    }

    #[test]
    fn each_phrase_is_found_once() {
        for (phrase, _) in PHRASES {
            assert_eq!(count(&format!("// a {phrase} b\n// c\n")), 1, "{phrase}");
            assert_eq!(count(&format!("let a = \"a {phrase} b\";")), 1, "{phrase}");
        }
        for (phrase, _) in BEGINNINGS {
            assert_eq!(count(&format!("/// {phrase}b\n")), 1, "{phrase}");
            assert_eq!(count(&format!("/// a\n/// {phrase}b\n")), 0, "{phrase}");
        }
    }

    #[test]
    fn a_phrase_across_a_line_break_is_found() {
        assert_eq!(count("/// a of\n    /// which b\n"), 1);
        assert_eq!(count("/// the text is\n/// no plan\n"), 1);
        assert_eq!(count("/// the file is\n/// no longer here\n"), 0);
        assert_eq!(count("/// there is\n/// no file\n"), 0);
        assert_eq!(count("let of = 1;\nwhich();\n"), 0);
    }

    #[test]
    fn only_comments_of_words_have_a_limit() {
        let word = "x".repeat(COLUMNS_MAX);
        assert_eq!(count(&format!("/// {word}\n")), 0);
        assert_eq!(count(&format!("/// a {word}\n")), 1);
        assert_eq!(count(&format!("let a = \"a {word}\";\n")), 0);
    }

    #[test]
    fn names_of_functions_name_a_thing() {
        for word in QUESTIONS {
            assert_eq!(count(&format!("fn {word}is_left() {{}}\n")), 1, "{word}");
        }
        assert_eq!(count("fn what() {}\n"), 0);
    }

    #[test]
    fn nix_comments_have_another_mark() {
        let text = "# What a file holds.\na = 1; # code\n";
        assert_eq!(faults(Path::new("a.nix"), text).len(), 1);
    }
}
