//! Runs with times of the future, from a job that forged them or a clock that jumped, as a command
//! finds them after the machine lost its power.

use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use nixactions::{
    event::{Event, EventKind},
    record::{Conclusion, JobRecord, JobResult, RESULT_VERSION, RunRecord, Usage},
    store::{EventWriter, RunDir, create_job, write_json},
};

use crate::{
    cli::told,
    common::{append, finished_run, job, job_record, make_run, sample_events, state},
};

/// A job's event in the last second that a time can be in.
fn of_the_future(event: EventKind) -> Event {
    Event {
        at: Timestamp::MAX,
        event,
    }
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// Makes a run that lost its supervisor, whose jobs `build` and `test-linux` wrote these events.
fn lost(state: &Path, of_jobs: [Vec<EventKind>; 2]) -> RunDir {
    let run = make_run(&super::common::state(state), 0);
    let steps = r#"{"steps":[{"bash":"true"},{"bash":"true"}]}"#;
    let plan = format!(
        r#"{{"version":1,"name":"ci","jobs":{{"build":{steps},"test-linux":{steps},"deploy":{steps}}}}}"#
    );
    std::fs::write(run.plan(), plan).unwrap();
    append(&run, &sample_events(&run)[..3]);
    for (name, told) in ["build", "test-linux"].into_iter().zip(of_jobs) {
        let paths = run.job(&job(name));
        create_job(&paths, &[]).unwrap();
        let told: Vec<_> = told.into_iter().map(of_the_future).collect();
        let mut events = EventWriter::open(&paths.events(), 0o644).unwrap();
        events.append(&told).unwrap();
    }
    drop(run.lock_supervisor().unwrap());
    run
}

fn closed(run: &RunDir) -> RunRecord {
    serde_json::from_slice(&std::fs::read(run.record()).unwrap()).unwrap()
}

#[test]
fn a_record_after_a_loss_of_power_has_no_times_of_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let forged = JobRecord {
        attempts: u32::MAX,
        started_at: Some(Timestamp::MIN),
        finished_at: Some(Timestamp::MAX),
        usage: Usage {
            cpu_seconds: Some(1e300),
            memory_peak_bytes: Some(u64::MAX),
        },
        log_lines: u64::MAX,
        reused_from: Some("ci-9".parse().unwrap()),
        ..job_record(0, Conclusion::Success)
    };
    let result = JobResult {
        version: RESULT_VERSION,
        failed: false,
        record: forged.clone(),
    };
    let started = |name| EventKind::JobStarted { job: job(name) };
    let run = lost(
        dir.path(),
        [
            vec![
                started("build"),
                EventKind::RunnerEnded {
                    job: job("build"),
                    result,
                },
            ],
            vec![
                started("test-linux"),
                EventKind::JobRetried {
                    job: job("test-linux"),
                    attempt: u32::MAX,
                },
                EventKind::StepFinished {
                    job: job("test-linux"),
                    index: 0,
                    step: forged.steps[0].clone(),
                },
                EventKind::StepStarted {
                    job: job("test-linux"),
                    index: 1,
                    name: "second".into(),
                    attempt: u32::MAX,
                },
            ],
        ],
    );
    set_modified(&run.events(), SystemTime::UNIX_EPOCH);
    for arguments in [&["show", "ci-1"][..], &["list"]] {
        let (code, out, said) = told(dir.path(), arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{said}");
    }
    let (record, now) = (closed(&run), Timestamp::now());
    assert_eq!(record.conclusion, Some(Conclusion::Failure));
    assert!(record.finished_at.unwrap() <= now, "{record:?}");
    for (name, ended) in &record.jobs {
        let steps = ended.steps.iter();
        let of_steps = steps.flat_map(|step| [step.started_at, step.finished_at]);
        for time in [ended.started_at, ended.finished_at]
            .into_iter()
            .chain(of_steps)
            .flatten()
        {
            assert!(time >= record.started_at && time <= now, "{name}: {time}");
        }
        assert!(ended.attempts <= 1, "{name}: {ended:?}");
        assert_eq!(ended.usage, Usage::default(), "{name}");
        assert_eq!(ended.reused_from, None, "{name}");
    }
    let steps = &record.jobs[&job("test-linux")].steps;
    assert!(steps.iter().all(|step| step.attempts <= 1), "{steps:?}");
    assert_eq!(record, run.record_so_far().unwrap());
    let (code, out, said) = told(dir.path(), &["clean", "--older-than", "0s"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(!run.path().exists(), "{out}{said}");
}

#[test]
fn a_record_with_an_end_in_the_future_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let run = finished_run(&state(dir.path()), 0, Conclusion::Failure);
    for end in [Timestamp::MAX, Timestamp::MIN] {
        let mut record = run.load_record().unwrap();
        record.finished_at = Some(end);
        let mut jobs = record.jobs.values_mut();
        jobs.by_ref().for_each(|ended| {
            ended.finished_at = Some(end);
            ended.log_lines = u64::MAX;
        });
        write_json(&run.record(), &record, 0o600, false).unwrap();
        std::fs::create_dir_all(run.journal()).unwrap();
        for arguments in [
            &["show", "ci-1"][..],
            &["list"],
            &["list", "--json"],
            &["logs", "ci-1"],
        ] {
            let (code, out, said) = told(dir.path(), arguments);
            assert_eq!(code, 0, "{end}, {arguments:?}: {out}{said}");
        }
    }
}

#[test]
fn a_run_with_files_of_the_future_is_lost_without_a_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let run = lost(dir.path(), [Vec::new(), Vec::new()]);
    set_modified(
        &run.events(),
        SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60),
    );
    let state = |dir: &Path| -> String {
        let (_, json, _) = told(dir, &["list", "--json"]);
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        rows[0]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(dir.path()), "lost", "the machine may not have booted");
    assert!(!run.record().exists());
    let supervisor = run.lock_supervisor().unwrap().unwrap();
    assert_eq!(state(dir.path()), "running");
    drop(supervisor);
    // A supervisor of an earlier boot leaves the boot's id in its lock.
    std::fs::write(
        run.path().join("supervisor.lock"),
        "00000000-0000-0000-0000-000000000000\n",
    )
    .unwrap();
    assert_eq!(state(dir.path()), "failure");
    assert!(closed(&run).finished_at.unwrap() <= Timestamp::now());
}
