//! The campaign: random workflows, disturbed at random moments, whose records are compared with a
//! model of the rules.
//!
//! Clients, supervisors, runners and private managers are killed, runs are cancelled, systemd is
//! reloaded and re-executed, and the disk fills up. After each round the record must follow the
//! model, and nothing of the run may be left.
//!
//! `NIXACTIONS_CAMPAIGN_ROUNDS` is the number of rounds for all managers together;
//! `NIXACTIONS_CAMPAIGN_SEED` repeats the workflows and disturbances of an earlier campaign, which
//! prints its seed. The moments of a disturbance differ from run to run all the same.
//!
//! Workflows with more jobs than PID 1 is given at once go in waves; the model does not know waves.

mod dag;
mod disturb;
mod model;

use std::{
    env,
    ops::Range,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

use nixactions_harness::{Manager, on_managers};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

use crate::{
    dag::Job,
    disturb::{disturb, disturbances, end, make_room, small_disk},
};

on_managers!(a_disturbed_run_follows_the_model on embedded_262, system_252, system_262, user_262);
on_managers!(large_dags_in_waves_follow_the_model on embedded_262, system_252, system_257, system_262, user_262);

/// The rounds of a campaign where nothing else is asked for.
const ROUNDS: u32 = 60;
/// The managers that share them.
const MANAGERS: u32 = 4;
/// The rounds of large workflows on each manager.
const LARGE_ROUNDS: u32 = 4;

/// Returns the number that an environment variable holds.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: `{text}`")),
    )
}

fn a_disturbed_run_follows_the_model(manager: &Manager) {
    let rounds = number("NIXACTIONS_CAMPAIGN_ROUNDS").unwrap_or(ROUNDS);
    campaign(manager, rounds.div_ceil(MANAGERS), dag::dag(), 1..6, 1);
}

fn large_dags_in_waves_follow_the_model(manager: &Manager) {
    campaign(
        manager,
        LARGE_ROUNDS,
        dag::large_dag(120..160, 20..100),
        1..3,
        2,
    );
}

/// Runs so many workflows. An undisturbed one goes in so many waves at least.
fn campaign(
    manager: &Manager,
    rounds: u32,
    dags: impl Strategy<Value = Vec<Job>>,
    parallel: Range<u32>,
    least_waves: usize,
) {
    let now = || {
        SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.subsec_nanos().into())
    };
    let seed: u64 = number("NIXACTIONS_CAMPAIGN_SEED").unwrap_or_else(now);
    println!("NIXACTIONS_CAMPAIGN_SEED={seed}");
    small_disk(manager);
    let done = AtomicUsize::new(0);
    // A smaller case seldom meets the same race: a few tries.
    let config = Config {
        cases: rounds,
        max_shrink_iters: 8,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (
        dags,
        parallel,
        prop::option::weighted(0.5, 1..3_u32),
        disturbances(),
    );
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(
        &strategy,
        |(jobs, parallel, group_parallel, moments)| {
            done.fetch_add(1, Ordering::Relaxed);
            make_room(manager);
            let path = manager.plan(&dag::plan(&jobs, parallel, group_parallel));
            let mut run = manager.start_command(manager.nixactions(&[
                Path::new("run"),
                &path,
                Path::new("--output=json"),
            ]));
            let marks = disturb(manager, &mut run, jobs.len(), &moments);
            let run = end(manager, run, &marks);
            model::check(&jobs, &run, &marks).inspect_err(|error| eprintln!("{error}"))?;
            run.leaves_nothing(manager);
            if moments.is_empty() {
                let waves = run
                    .events
                    .iter()
                    .filter(|event| event["event"]["type"] == "jobsSubmitted");
                let waves = waves.count();
                prop_assert!(
                    waves >= least_waves,
                    "{} waves of {} jobs: {}",
                    waves,
                    jobs.len(),
                    run
                );
            }
            Ok(())
        },
    );
    match outcome {
        Ok(()) => assert!(done.into_inner() >= rounds as usize),
        Err(TestError::Fail(reason, case)) => panic!(
            "{reason}\nseed {seed}; jobs, maxParallel, that of groups and disturbances: {case:#?}"
        ),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
