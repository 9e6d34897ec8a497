//! Any bytes as what a step writes for its runner: the files for variables, directories, outputs
//! and the summary, and lines that may be commands.
//!
//! Held, beside that nothing panics:
//!
//! - What comes out is no longer than what came in, and within the bounds.
//! - Names and values can stand in an environment.
//! - An error never holds what the step wrote.
//! - A mask is always heard, also where commands are stopped.
//!
//! `cargo +nightly fuzz run -s none step fuzz/corpus/step fuzz/seeds/step`. The bytes 0xff separate
//! the files and the lines of the two streams.

#![no_main]

mod memory;

use std::{collections::HashMap, fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use nixactions_core::bounds::{ANNOTATIONS_MAX, TEXT_MAX};
use nixactions_runner::fuzz::{Commands, FILE_MAX, Heard, StepFiles, Stopped, Written, is_name};
use tempfile::TempDir;

/// The most memory that reading may take, in bytes.
const MEMORY_MAX: usize = 32 << 20;
/// The longest error: it names a file, a line and a fault.
const ERROR_MAX: usize = 120;

static PLACE: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("there is a tmpfs"));

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(5, |byte| *byte == 0xff);
    let files: [&[u8]; 4] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    read_files(files);
    hear(parts.next().unwrap_or_default());
});

fn read_files(contents: [&[u8]; 4]) {
    let files = StepFiles::create(PLACE.path(), 0, 1).expect("it is ours");
    let paths: HashMap<_, _> = files.variables().collect();
    let names = ["ENV", "PATH", "OUTPUT", "SUMMARY"];
    for (name, content) in names.into_iter().zip(contents) {
        let path = &paths[format!("NIXACTIONS_{name}").as_str()];
        fs::write(path, content).expect("there is room");
    }
    let (read, peak) = memory::peak(|| (files.read(), files.summary()));
    assert!(peak <= MEMORY_MAX, "{peak}");
    let (written, summary) = read;
    let summary = summary.expect("it is a short file");
    // A byte that is not UTF-8 becomes a sign of three.
    assert!(summary.len() <= 3 * contents[3].len());
    let written = match written {
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("NIXACTIONS_") && text.len() < ERROR_MAX, "{text}");
            return;
        }
        Ok(written) => written,
    };
    let Written { env, path, outputs } = &written;
    for (list, content) in [(env, contents[0]), (outputs, contents[2])] {
        let size: usize = list.iter().map(|(name, value)| name.len() + value.len() + 1).sum();
        assert!(size <= content.len() + 1, "{size} of {}", content.len());
        for (name, value) in list {
            assert!(is_name(name) && !value.contains('\0'), "{name:?}: {value:?}");
        }
        assert!(content.len() as u64 <= FILE_MAX);
    }
    for directory in path {
        assert!(!directory.is_empty() && !directory.contains(['\n', '\0']), "{directory:?}");
    }
    // Values in the plainest spelling come back unchanged from a second reading.
    let again = StepFiles::create(PLACE.path(), 1, 1).expect("it is ours");
    let paths: HashMap<_, _> = again.variables().collect();
    for (name, list) in [("NIXACTIONS_ENV", env), ("NIXACTIONS_OUTPUT", outputs)] {
        fs::write(&paths[name], heredocs(list)).expect("there is room");
    }
    fs::write(&paths["NIXACTIONS_PATH"], path.join("\n")).expect("there is room");
    if contents.iter().map(|content| content.len()).sum::<usize>() < 64 << 10 {
        assert_eq!(again.read().expect("it is well formed"), written);
    }
}

fn heredocs(list: &[(String, String)]) -> String {
    let one = |(name, value): &(String, String)| {
        let taken = |delimiter: &String| {
            value.split('\n').any(|line| line.trim_end_matches('\r') == *delimiter)
        };
        let delimiter = (0..).map(|n| format!("E{n}")).find(|d| !taken(d));
        let delimiter = delimiter.expect("there are enough");
        format!("{name}<<{delimiter}\n{value}\n{delimiter}\n")
    };
    list.iter().map(one).collect()
}

fn hear(lines: &[u8]) {
    let mut commands = Commands::default();
    let streams = [Stopped::default(), Stopped::default()];
    let (mut annotations, mut outputs, mut warned) = (0, 0, 0);
    for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        if line == b"step" {
            commands.begin(&format!("step {number}"), 1);
            outputs = 0;
        }
        let stopped = &streams[usize::from(line.first() == Some(&b' '))];
        let before = stopped.borrow().clone();
        let (heard, peak) = memory::peak(|| commands.hear(line, stopped));
        assert!(peak <= (64 << 10) + 32 * line.len(), "{peak} of {}", line.len());
        if let Some(value) = line.trim_ascii_start().strip_prefix(b"::add-mask::")
            && before.is_none_or(|token| token != b"add-mask")
        {
            assert!(matches!(&heard, Some(Heard::Hide(hidden)) if hidden.len() <= value.len()));
        }
        match heard {
            Some(Heard::Say(text, ..)) => {
                assert!(text.len() <= 3 * line.len() + 64 + 3 * TEXT_MAX);
            }
            Some(Heard::Warn(_)) => warned += 1,
            _ => {}
        }
        for annotation in commands.annotations() {
            annotations += 1;
            let texts = [Some(annotation.message), annotation.title, annotation.file];
            assert!(texts.iter().flatten().all(|text| text.len() <= TEXT_MAX));
        }
        if number % 7 == 0 {
            for (name, value) in commands.outputs() {
                assert!(is_name(&name) && !value.contains('\0'));
                outputs += name.len() + value.len();
            }
        }
    }
    assert!(annotations <= ANNOTATIONS_MAX && warned <= 2);
    assert!(outputs <= 3 * lines.len());
}
