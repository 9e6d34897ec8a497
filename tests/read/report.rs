//! The renderers' output for a run.

use std::{cell::Cell, rc::Rc};

use crate::common::{at, event, job, job_record, make_run, sample_events, state};
use nixactions::{
    event::{Event, EventKind},
    log::{LogLine, Mark, Stream, ToldOutcome},
    reason::ReasonCode,
    record::{Conclusion, JobRecord, RunRecord},
    report::{Json, Live, Renderer, Size, Structured, Text},
};

fn line(millis: i64, name: &str, stream: Stream, priority: u8, message: &str) -> LogLine {
    let step = Some("compile".to_owned());
    LogLine {
        at: at(millis),
        job: job(name),
        step,
        attempt: Some(1),
        service: None,
        stream,
        priority,
        mark: None,
        outcome: None,
        message: message.into(),
    }
}

/// Returns a line of a runner that reports an outcome.
fn told(line: LogLine, outcome: Conclusion, code: ReasonCode) -> LogLine {
    let code = Some(code);
    LogLine {
        outcome: Some(ToldOutcome { outcome, code }),
        ..line
    }
}

/// The sample run with some lines, as a renderer gets it.
fn play(renderer: &mut dyn Renderer) {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    let mut record: RunRecord = Event::empty_record(run.id().clone(), "ci".parse().unwrap(), at(0));
    for event in sample_events(&run) {
        renderer.event(&event).unwrap();
        event.apply(&mut record);
        if matches!(&event.event, EventKind::StepStarted { job, .. } if job.as_str() == "build") {
            renderer
                .line(&line(
                    20,
                    "build",
                    Stream::Stdout,
                    6,
                    "Compiling \x1b[32mgreen\x1b[0m\x1b[2J v1.0",
                ))
                .unwrap();
            renderer
                .line(&line(21, "build", Stream::Stderr, 6, "10%\r100%\r"))
                .unwrap();
            renderer
                .line(&line(22, "build", Stream::Runner, 4, "retrying in 1 s"))
                .unwrap();
            renderer
                .line(&line(23, "build", Stream::Stdout, 6, ""))
                .unwrap();
        }
    }
    let others = [
        EventKind::SupervisorStarted { pid: 43 },
        EventKind::CancelRequested {
            by: "Ctrl-C".into(),
            kill: false,
        },
        EventKind::Warning {
            message: "no memory controller here, running without a memory limit".into(),
        },
        EventKind::RunFinished {
            conclusion: Conclusion::Failure,
            reason: None,
            reason_code: None,
        },
    ];
    for other in others {
        let event = event(2200, other);
        renderer.event(&event).unwrap();
        event.apply(&mut record);
    }
    renderer.tick().unwrap();
    renderer.finish(Some(&record)).unwrap();
}

#[test]
fn text_is_prefixed_by_job_and_ends_with_a_table() {
    let mut out = Vec::new();
    play(&mut Text::new(&mut out, false));
    insta::assert_snapshot!("text", String::from_utf8(out).unwrap());
}

#[test]
fn colours_are_for_terminals_only() {
    let mut out = Vec::new();
    play(&mut Text::new(&mut out, true));
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("\x1b[32mgreen\x1b[0m v1.0"),
        "a job's own colours pass: {text}"
    );
    assert!(!text.contains("\x1b[2J"));
    let mut out = Vec::new();
    play(&mut Text::new(&mut out, false));
    assert!(!out.contains(&0x1b));
}

#[test]
fn structured_lines_have_time_workflow_job_and_step() {
    let mut out = Vec::new();
    play(&mut Structured::new(&mut out, "ci"));
    insta::assert_snapshot!("structured", String::from_utf8(out).unwrap());
}

#[test]
fn json_has_an_object_a_line_and_events_as_they_are_stored() {
    let mut out = Vec::new();
    play(&mut Json::new(&mut out));
    let text = String::from_utf8(out).unwrap();
    let (logs, events): (Vec<&str>, Vec<&str>) = text
        .lines()
        .partition(|line| line.contains(r#""type":"log""#));
    let first: serde_json::Value = serde_json::from_str(logs[0]).unwrap();
    let expected = serde_json::json!({
        "at": at(20), "event": {
            "type": "log", "job": "build", "step": "compile", "attempt": 1, "stream": "stdout", "priority": 6,
            "message": "Compiling \u{1b}[32mgreen\u{1b}[0m\u{1b}[2J v1.0",
        }
    });
    assert_eq!(first, expected);
    assert_eq!(logs.len(), 4);
    assert_eq!(events.len(), 16);
    for event in events {
        let _: Event = serde_json::from_str(event).expect("an event");
    }
}

#[test]
fn failures_that_are_allowed_say_so() {
    let mut out = Vec::new();
    let mut text = Text::new(&mut out, false);
    let mut record = job_record(0, Conclusion::Failure);
    record.conclusion = Conclusion::Success;
    record.steps[0].conclusion = Conclusion::Success;
    text.event(&event(
        1,
        EventKind::StepFinished {
            job: job("a"),
            index: 0,
            step: record.steps[0].clone(),
        },
    ))
    .unwrap();
    text.event(&event(
        1,
        EventKind::JobFinished {
            job: job("a"),
            record,
        },
    ))
    .unwrap();
    insta::assert_snapshot!("allowed_failure", String::from_utf8(out).unwrap());
}

#[test]
fn a_failed_step_is_told_of_once() {
    let mut out = Vec::new();
    let mut text = Text::new(&mut out, false);
    let mut record = job_record(0, Conclusion::Failure);
    record.steps[0].reason_code = Some(ReasonCode::ExitStatus);
    text.line(&told(
        line(
            999,
            "a",
            Stream::Runner,
            3,
            // The text does not matter.
            "step compile: *** status 2",
        ),
        Conclusion::Failure,
        ReasonCode::ExitStatus,
    ))
    .unwrap();
    text.event(&event(
        1000,
        EventKind::StepFinished {
            job: job("a"),
            index: 0,
            step: record.steps[0].clone(),
        },
    ))
    .unwrap();
    text.event(&event(
        1000,
        EventKind::JobFinished {
            job: job("a"),
            record,
        },
    ))
    .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "a : step compile: *** status 2\na : failure after 1.0s: step compile: exit status 2\n"
    );
}

#[test]
fn lines_of_a_group_are_indented_up_to_its_end_or_the_end_of_its_step() {
    let mut out = Vec::new();
    let mut text = Text::new(&mut out, false);
    let mut say = |job: &str, step: &str, mark: Option<Mark>, message: &str| {
        text.line(&LogLine {
            mark,
            step: Some(step.to_owned()),
            ..line(1, job, Stream::Stdout, 6, message)
        })
        .unwrap();
    };
    say("a", "one", None, "before");
    say("a", "one", Some(Mark::Group), "Compile\x1b[2J");
    say("a", "one", None, "inside");
    say("b", "one", None, "elsewhere");
    say("a", "one", Some(Mark::Error), "error: x");
    say("a", "one", Some(Mark::EndGroup), "");
    say("a", "one", None, "after");
    say("a", "one", Some(Mark::Group), "Never ended");
    say("a", "two", None, "next");
    let text = String::from_utf8(out).unwrap();
    let expected = "a | before\na | ▼ Compile\na |   inside\nb | elsewhere\na |   error: x\na | after\na | ▼ Never ended\na | next\n";
    assert_eq!(text, expected);
}

#[test]
fn a_skipped_job_is_told_of_once() {
    let mut out = Vec::new();
    let mut text = Text::new(&mut out, false);
    let record = JobRecord {
        started_at: None,
        reason: Some("need `a` failed".into()),
        reason_code: Some(ReasonCode::NeedFailed),
        ..job_record(0, Conclusion::Skipped)
    };
    text.line(&LogLine {
        step: None,
        ..told(
            line(999, "b", Stream::Runner, 6, "skipped: need `a` failed"),
            Conclusion::Skipped,
            ReasonCode::NeedFailed,
        )
    })
    .unwrap();
    text.event(&event(
        1000,
        EventKind::JobFinished {
            job: job("b"),
            record: record.clone(),
        },
    ))
    .unwrap();
    // One that systemd never started has nobody to say so.
    text.event(&event(
        1000,
        EventKind::JobFinished {
            job: job("c"),
            record,
        },
    ))
    .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "b : skipped: need `a` failed\nc : skipped: need `a` failed\n"
    );
}

/// A terminal's view of what a live view wrote: the rows, after carriage returns, cursor movement
/// and erasing.
fn screen(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let (mut rows, mut row, mut column) = (vec![String::new()], 0usize, 0usize);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                (row, column) = (row + 1, 0);
                rows.resize(rows.len().max(row + 1), String::new());
            }
            '\r' => column = 0,
            '\x1b' => {
                assert_eq!(chars.next(), Some('['));
                let code: String = chars.by_ref().take_while_inclusive_alpha();
                match code.chars().last().unwrap() {
                    'A' => row -= code[..code.len() - 1].parse::<usize>().unwrap(),
                    'J' => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    other => panic!("unexpected sequence {other}"),
                }
            }
            c => {
                rows[row].truncate(column);
                rows[row].push(c);
                column += 1;
            }
        }
    }
    rows
}

trait TakeSequence {
    fn take_while_inclusive_alpha(self) -> String;
}

impl<I: Iterator<Item = char>> TakeSequence for I {
    fn take_while_inclusive_alpha(self) -> String {
        let mut out = String::new();
        for c in self {
            out.push(c);
            if c.is_ascii_alphabetic() {
                break;
            }
        }
        out
    }
}

#[test]
fn the_live_view_scrolls_lines_above_what_is_running_and_leaves_nothing_behind() {
    let mut out = Vec::new();
    let size = || Size {
        columns: 60,
        rows: 24,
    };
    let mut live = Live::new(&mut out, "ci-1", false, || at(5000), size);
    live.event(&event(
        0,
        EventKind::RunCreated {
            run: "ci-1".parse().unwrap(),
            workflow: "ci".parse().unwrap(),
            jobs: 3,
            rerun_of: None,
            origin: None,
        },
    ))
    .unwrap();
    for (name, start) in [("build", 1000), ("test", 2000)] {
        live.event(&event(start, EventKind::JobStarted { job: job(name) }))
            .unwrap();
        live.event(&event(
            start,
            EventKind::StepStarted {
                job: job(name),
                index: 0,
                name: "compile".into(),
                attempt: 2,
            },
        ))
        .unwrap();
    }
    live.tick().unwrap();
    live.line(&line(3000, "build", Stream::Stdout, 6, "a line"))
        .unwrap();
    live.tick().unwrap();
    live.event(&event(
        4000,
        EventKind::JobFinished {
            job: job("build"),
            record: job_record(3000, Conclusion::Success),
        },
    ))
    .unwrap();
    live.tick().unwrap();
    drop(live);
    let expected = [
        "ci-1: 3 jobs",
        "build : step `compile`, attempt 2",
        "test  : step `compile`, attempt 2",
        "build | a line",
        "build : success after 1.0s",
        "/ test    3.0s  compile, attempt 2",
        "ci-1: 1/3 (1 success), 1 running, 5.0s",
    ];
    assert_eq!(screen(&out), expected);
    let mut out = Vec::new();
    let mut live = Live::new(&mut out, "ci-1", false, || at(5000), size);
    live.event(&event(1, EventKind::JobStarted { job: job("build") }))
        .unwrap();
    live.tick().unwrap();
    live.finish(None).unwrap();
    drop(live);
    assert_eq!(screen(&out), [""]);
}

#[test]
fn the_live_view_fits_any_terminal() {
    let size = Rc::new(Cell::new(Size {
        columns: 80,
        rows: 10,
    }));
    let mut out = Vec::new();
    let asked = size.clone();
    let mut live = Live::new(&mut out, "ci-1", false, || at(5000), move || asked.get());
    for number in 0..5000 {
        live.event(&event(
            number,
            EventKind::JobStarted {
                job: job(&format!("job{number}")),
            },
        ))
        .unwrap();
    }
    live.tick().unwrap();
    size.set(Size {
        columns: 20,
        rows: 4,
    });
    live.tick().unwrap();
    size.set(Size {
        columns: 1,
        rows: 1,
    });
    live.tick().unwrap();
    drop(live);
    let text = String::from_utf8(out).unwrap();
    let frames: Vec<&str> = text.split("\x1b[J").collect();
    let first: Vec<&str> = frames[0].lines().collect();
    assert_eq!(first.len(), 8, "{first:?}");
    assert_eq!(first[6], "  and 4994 more");
    assert!(first[0].contains("job0 "), "the oldest is shown first");
    // Each of the 8 lines was less than 40 columns wide: at 20 columns none takes more than 2 rows.
    let up: usize = text[frames[0].rfind("\x1b[").unwrap() + 2..]
        .split_once('A')
        .unwrap()
        .0
        .parse()
        .unwrap();
    assert!(
        (8..16).contains(&up),
        "the rows of wrapped lines are counted: {up}"
    );
    let lines: Vec<&str> = frames[1].split('\r').next().unwrap().lines().collect();
    assert!(
        lines.len() == 2 && lines.iter().all(|line| line.len() < 20),
        "{lines:?}"
    );
}
