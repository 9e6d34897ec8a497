//! Any bytes as the events of a job, with its result as the last event. The supervisor and the
//! dependents read them.
//!
//! Held, beside that nothing panics:
//!
//! - Memory and output are bounded, however large the file is.
//! - It does not matter in which parts the file grows.
//! - There is a result only where the file ends with the line of a valid one: a job never succeeds
//!   by bytes that were not ended so.
//!
//! `cargo +nightly fuzz run -s none job fuzz/corpus/job fuzz/seeds/job`. The first byte is the
//! number of steps that the job has; the second one tells whether the rest stands there many times,
//! where it has a length that fits, and whether a hole follows it.

#![no_main]

mod memory;

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::LazyLock,
};

use libfuzzer_sys::fuzz_target;
use nixactions_core::{
    bounds::{ANNOTATIONS_MAX, Allowance, TEXT_MAX, cut_record},
    event::{Event, EventKind},
    ids::JobName,
    paths::JobPaths,
    record::JobResult,
    status::Need,
};
use nixactions_runner::fuzz::{NeedResult, of_needs};
use nixactions_store::{EventTail, has_started, read_result};
use tempfile::TempDir;

/// The most memory that reading may take, in bytes, for any file: a line of 8 MiB with its buffer,
/// read and parsed.
const MEMORY_MAX: usize = 96 << 20;
/// The size of what is written for one input, at most.
const FILE_MAX: usize = 20 << 20;
/// The most bytes that a record may take: outputs of 1 MiB and texts, and each byte may become
/// `\u0000`.
const RECORD_MAX: usize = 10 << 20;

static PLACE: LazyLock<TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir_in("/dev/shm").expect("there is a tmpfs");
    std::fs::create_dir(JobPaths::at(place.path().to_owned()).out()).expect("it is ours");
    place
});

fuzz_target!(|bytes: &[u8]| {
    let [steps, form, body @ ..] = bytes else {
        return;
    };
    let steps = usize::from(*steps);
    let job = JobPaths::at(PLACE.path().to_owned());
    let events = job.events();
    let mut file = File::create(&events).expect("it is ours");

    // A file that grows part by part.
    let parts: Vec<_> = body.split_inclusive(|byte| *byte == 0xff).collect();
    let mut reader = Reader::new(&events, steps);
    for part in &parts {
        file.write_all(part).expect("there is room");
        reader.read();
    }
    reader.read();
    // The same file as a whole.
    let mut whole = Reader::new(&events, steps);
    whole.read();
    assert_eq!(reader.kept, whole.kept);
    judge(&job, steps, Some(body));

    // Rarely, since it takes a thousand times as long.
    if body.len() % 64 == usize::from(form & 0x3f) {
        let times = (1_usize << (form & 0x0f)).min(FILE_MAX / body.len().max(1));
        file.write_all(&body.repeat(times)).expect("there is room");
        if form & 0x40 != 0 {
            let length = file.metadata().expect("it is open").len();
            let grown = OpenOptions::new().write(true).open(&events);
            let grown = grown.expect("it is ours");
            grown.set_len(length + (3 << 30)).expect("a hole takes no room");
            file.write_all(b"\n").expect("there is room");
        }
        reader.read();
        judge(&job, steps, None);
    }
});

/// The supervisor's way to read what a job tells.
struct Reader {
    job: JobName,
    tail: EventTail,
    allowance: Allowance,
    kept: Vec<Event>,
}

impl Reader {
    fn new(events: &Path, steps: usize) -> Self {
        Self {
            job: "j".parse().expect("it is a name"),
            tail: EventTail::untrusted(events.to_owned()),
            allowance: Allowance::new(steps),
            kept: Vec::new(),
        }
    }

    fn read(&mut self) {
        loop {
            let (news, peak) = memory::peak(|| self.tail.read().expect("it is a file"));
            assert!(peak <= MEMORY_MAX, "a look took {peak} bytes");
            let told = news.events.into_iter();
            let told = told.filter(|event| event.is_told_by(&self.job));
            self.kept
                .extend(told.filter_map(|event| self.allowance.admit(event)));
            if !news.more {
                break;
            }
        }
        let texts: usize = self.kept.iter().map(texts).sum();
        assert!(texts <= 4 << 20, "{texts}");
        assert!(self.kept.len() <= 4 << 12, "{}", self.kept.len());
    }
}

/// Returns the length of all texts of an event. Checks that no text is longer than the bounds.
fn texts(event: &Event) -> usize {
    let texts = match &event.event {
        EventKind::Annotation { annotation, .. } => vec![
            Some(&annotation.message),
            Some(&annotation.step),
            annotation.title.as_ref(),
            annotation.file.as_ref(),
        ],
        EventKind::StepStarted { name, .. } => vec![Some(name)],
        EventKind::StepFinished { step, .. } => vec![Some(&step.name), step.reason.as_ref()],
        _ => Vec::new(),
    };
    let lengths = texts.into_iter().flatten().map(String::len);
    lengths
        .inspect(|length| assert!(*length <= TEXT_MAX))
        .sum()
}

/// Reads a job's result as the supervisor and its dependents do; `body` is what the file holds.
fn judge(job: &JobPaths, steps: usize, body: Option<&[u8]>) {
    let (result, peak) = memory::peak(|| read_result(job));
    assert!(peak <= MEMORY_MAX, "a result took {peak} bytes");
    has_started(job);
    let result = result.ok().flatten();
    if let Some(body) = body {
        assert_eq!(result, ended_with(body), "the file ends with another result");
    }
    let Some(JobResult {
        mut record, failed, ..
    }) = result
    else {
        return;
    };
    cut_record(&mut record, steps);
    assert_eq!(cut_record(&mut record, steps), [""; 0], "cut once is cut");
    let outputs: usize = record.outputs.iter().map(|(k, v)| k.len() + v.len()).sum();
    assert!(outputs <= 1 << 20 && record.annotations.len() <= ANNOTATIONS_MAX);
    assert!(record.steps.len() <= steps);
    let length = serde_json::to_vec(&record).expect("it is JSON").len();
    assert!(length <= RECORD_MAX + steps * 12 * TEXT_MAX, "{length}");

    let need = NeedResult {
        need: Need {
            job: "j".parse().expect("it is a name"),
            conclusion: record.conclusion,
            failed,
        },
        outputs: record.outputs,
    };
    let all = of_needs(&[need]);
    assert_eq!(all.results.get("NEEDS_J_RESULT").map(String::as_str), Some(record.conclusion.as_str()));
    for (name, value) in all.results.iter().chain(&all.outputs) {
        assert!(!name.contains(['=', '\0']) && !value.contains('\0'));
        assert!(name.starts_with("NEEDS_J_"));
    }
    assert!(!all.outputs.contains_key("NEEDS_J_RESULT"));
}

/// Returns the result that bytes end with, in the slow and plain way.
fn ended_with(body: &[u8]) -> Option<JobResult> {
    let line = body.strip_suffix(b"\n")?.split(|byte| *byte == b'\n').next_back()?;
    match serde_json::from_slice::<Event>(line).ok()?.event {
        EventKind::RunnerEnded { result, .. } if result.version == 1 => Some(result),
        _ => None,
    }
}
