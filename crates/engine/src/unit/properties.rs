//! Properties that the units of jobs, services, hooks and containers have in common.

use std::time::Duration;

use super::{Context, JobPaths, RunSpec, SECRETS_CREDENTIAL, Value, memory, start_timeout};
use crate::{
    ids::JobName,
    plan::{Env, Job},
};

/// How much sooner than the host's services the kernel ends a job, where memory runs out
/// (`OOMScoreAdjust=`, systemd.exec(5)).
const OOM_SCORE: i32 = 500;
/// The limit of core dumps at which the kernel makes none, in bytes. With 0, a program that core
/// dumps are piped to (systemd-coredump(8)) still gets them and logs the process' environment. With
/// 1, the pipe gets nothing either, and no core file fits (core(5)).
pub(super) const CORE_NONE: u64 = 1;

/// Returns the property that names the manual page.
pub(super) fn documentation() -> (&'static str, Value) {
    (
        "Documentation",
        Value::StrList(vec!["man:nixactions(1)".to_owned()]),
    )
}

/// Returns the fields that the journal adds to all lines of a unit.
pub(super) fn log_fields(run: &RunSpec, job: Option<&JobName>) -> Value {
    let mut fields = vec![
        format!("NIXACTIONS_RUN={}", run.run),
        format!("NIXACTIONS_WORKFLOW={}", run.workflow),
    ];
    fields.extend(job.map(|job| format!("NIXACTIONS_JOB={job}")));
    Value::BytesList(fields.into_iter().map(String::into_bytes).collect())
}

/// Returns a time as systemd takes it; without one, systemd never ends the unit.
pub(super) fn micros(duration: Option<Duration>) -> Value {
    Value::U64(duration.map_or(u64::MAX, |duration| {
        duration.as_micros().try_into().unwrap_or(u64::MAX)
    }))
}

/// Returns the properties of a service whose main process is a runner.
pub(super) fn service(
    description: String,
    slice: String,
    argv: Vec<String>,
    timeout: Option<Duration>,
    fields: Value,
    paths: &JobPaths,
) -> Vec<(&'static str, Value)> {
    vec![
        ("Description", Value::Str(description)),
        documentation(),
        ("Type", Value::Str("oneshot".into())),
        ("CollectMode", Value::Str("inactive-or-failed".into())),
        ("Slice", Value::Str(slice)),
        ("ExecStart", Value::Exec(argv)),
        // systemd opens the file before it builds the sandbox and changes the user. So the runner
        // has the file, and no process of the job can open it for writing.
        (
            "StandardOutputFileToAppend",
            Value::Str(paths.events().display().to_string()),
        ),
        ("StandardError", Value::Str("journal".into())),
        ("KillMode", Value::Str("mixed".into())),
        ("IgnoreSIGPIPE", Value::Bool(false)),
        ("TimeoutStartUSec", micros(timeout)),
        (
            "TimeoutStopUSec",
            micros(Some(start_timeout(Duration::ZERO))),
        ),
        // PID 1 counts each attempt to start a job in a full slice as a start. With
        // `ConcurrencySoftMax=`, a job that waits for long would reach the limit and fail.
        ("StartLimitIntervalUSec", Value::U64(0)),
        // 0 would leave journald's own limit in force, since systemd passes on only nonzero values.
        ("LogRateLimitIntervalUSec", Value::U64(1)),
        ("LogRateLimitBurst", Value::U32(u32::MAX)),
        ("OOMScoreAdjust", Value::I32(OOM_SCORE)),
        memory::stops(),
        ("LogExtraFields", fields),
    ]
}

/// Returns the properties that give a job its secrets. A core dump would hold secrets, so the job
/// leaves none, unless the plan says otherwise.
pub(super) fn secrets(context: &Context<'_>, job: Option<&Job>) -> Vec<(&'static str, Value)> {
    let run = context.run.secrets.iter().map(|secrets| {
        (
            SECRETS_CREDENTIAL.to_owned(),
            secrets.file.display().to_string(),
        )
    });
    let pairs = |named: &Env| {
        named
            .iter()
            .map(|(name, path)| (name.clone(), path.clone()))
            .collect::<Vec<_>>()
    };
    let plain: Vec<_> = run
        .chain(job.into_iter().flat_map(|job| pairs(&job.credentials)))
        .collect();
    let encrypted = job.map_or_else(Vec::new, |job| pairs(&job.credentials_encrypted));
    let by_job = |job: &Job| {
        !job.env_from.is_empty() || job.steps.iter().any(|step| !step.env_from.is_empty())
    };
    let provided = !context.plan.env_from.is_empty() || job.is_some_and(by_job);
    let mut properties = Vec::new();
    if provided || !plain.is_empty() || !encrypted.is_empty() {
        properties.push(("LimitCORE", Value::U64(CORE_NONE)));
    }
    if !plain.is_empty() {
        properties.push(("LoadCredential", Value::Pairs(plain)));
    }
    if !encrypted.is_empty() {
        properties.push(("LoadCredentialEncrypted", Value::Pairs(encrypted)));
    }
    properties
}
