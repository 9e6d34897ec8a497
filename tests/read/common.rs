//! Run directories made by hand, through the same functions that the program uses.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use nixactions::{
    event::{Event, EventKind},
    ids::JobName,
    record::{Conclusion, JobRecord, RECORD_VERSION, RunRecord, StepRecord, Usage},
    store::{EventWriter, RunDir, StateDir, write_json},
    unit::{ManagerKind, RunSpec, SPEC_VERSION},
};

/// The time of the `millis`th millisecond of a run.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_768_471_200_000 + millis).unwrap()
}

pub fn job(name: &str) -> JobName {
    name.parse().unwrap()
}

pub fn event(millis: i64, event: EventKind) -> Event {
    Event {
        at: at(millis),
        event,
    }
}

/// A job that ran for a second from `start`, with one step.
pub fn job_record(start: i64, conclusion: Conclusion) -> JobRecord {
    let failed = conclusion == Conclusion::Failure;
    let ran = conclusion != Conclusion::Skipped;
    let step = StepRecord {
        name: "compile".into(),
        outcome: conclusion,
        conclusion,
        exit_code: ran.then_some(if failed { 2 } else { 0 }),
        reason: None,
        reason_code: None,
        attempts: 1,
        started_at: Some(at(start)),
        finished_at: Some(at(start + 1000)),
    };
    JobRecord {
        outcome: conclusion,
        conclusion,
        reason: match conclusion {
            Conclusion::Failure => Some("step compile: exit status 2".into()),
            Conclusion::Skipped => Some("need `build` failed".into()),
            _ => None,
        },
        attempts: u32::from(ran),
        started_at: ran.then(|| at(start)),
        finished_at: Some(at(start + 1000)),
        usage: if ran {
            Usage {
                cpu_seconds: Some(0.25),
                memory_peak_bytes: Some(12_897_484),
            }
        } else {
            Usage::default()
        },
        steps: if ran { vec![step] } else { vec![] },
        ..JobRecord::new("nixactions-ci-1-x.service".into())
    }
}

/// The events of a run: one job succeeds, one fails, and one is skipped.
pub fn sample_events(run: &RunDir) -> Vec<Event> {
    let mut events = vec![
        event(
            0,
            EventKind::RunCreated {
                run: run.id().clone(),
                workflow: "ci".parse().unwrap(),
                jobs: 3,
                rerun_of: None,
                origin: None,
            },
        ),
        event(1, EventKind::SupervisorStarted { pid: 42 }),
        event(
            2,
            EventKind::JobsSubmitted {
                wave: 0,
                jobs: vec![job("build"), job("test-linux"), job("deploy")],
            },
        ),
    ];
    for (start, name, conclusion) in [
        (10, "build", Conclusion::Success),
        (1100, "test-linux", Conclusion::Failure),
    ] {
        let record = job_record(start, conclusion);
        events.push(event(start, EventKind::JobStarted { job: job(name) }));
        events.push(event(
            start,
            EventKind::StepStarted {
                job: job(name),
                index: 0,
                name: "compile".into(),
                attempt: 1,
            },
        ));
        events.push(event(
            start + 1000,
            EventKind::StepFinished {
                job: job(name),
                index: 0,
                step: record.steps[0].clone(),
            },
        ));
        events.push(event(
            start + 1000,
            EventKind::JobFinished {
                job: job(name),
                record,
            },
        ));
    }
    events.push(event(
        2110,
        EventKind::JobFinished {
            job: job("deploy"),
            record: job_record(1110, Conclusion::Skipped),
        },
    ));
    events
}

/// Makes a run that was created at `millis`.
pub fn make_run(state: &StateDir, millis: i64) -> RunDir {
    let run = state.create_run(&"ci".parse().unwrap()).unwrap();
    let spec = RunSpec {
        version: SPEC_VERSION,
        run: run.id().clone(),
        workflow: "ci".parse().unwrap(),
        manager: ManagerKind::Embedded,
        created_at: at(millis),
        program: "/bin/nixactions".into(),
        directory: run.path().to_owned(),
        state_directory: state.path().to_owned(),
        runtime_directory: "/run/nixactions/ci-1".into(),
        overrides: BTreeMap::new(),
        secrets: None,
        inputs: BTreeMap::new(),
        path: "/bin".into(),
        has_source: false,
        mounts_source: false,
        roots: Default::default(),
        images: Default::default(),
        disks: Default::default(),
        max_parallel: 2,
        max_jobs: None,
        origin: None,
        notify: Default::default(),
        keep_failed: None,
        delays_shutdown: false,
    };
    write_json(&run.spec(), &spec, 0o600, false).unwrap();
    std::fs::write(
        run.plan(),
        r#"{"version":1,"name":"ci","jobs":{"build":{},"test-linux":{},"deploy":{}}}"#,
    )
    .unwrap();
    run
}

pub fn append(run: &RunDir, events: &[Event]) {
    EventWriter::open(&run.events(), 0o600)
        .unwrap()
        .append(events)
        .unwrap();
}

/// Ends a run as its supervisor does: the last event, then the record.
pub fn finish(run: &RunDir, conclusion: Conclusion) -> RunRecord {
    append(
        run,
        &[event(
            2200,
            EventKind::RunFinished {
                conclusion,
                reason: None,
                reason_code: None,
            },
        )],
    );
    let record = run.record_so_far().unwrap();
    assert_eq!(record.version, RECORD_VERSION);
    write_json(&run.record(), &record, 0o600, true).unwrap();
    record
}

/// Makes a run that has ended.
pub fn finished_run(state: &StateDir, millis: i64, conclusion: Conclusion) -> RunDir {
    let run = make_run(state, millis);
    append(&run, &sample_events(&run));
    finish(&run, conclusion);
    run
}

/// Returns the state directory at a path, made where it is absent.
pub fn state(path: &Path) -> StateDir {
    StateDir::create(path).unwrap()
}
