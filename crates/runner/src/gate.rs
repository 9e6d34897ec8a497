//! The job's gate: reads the results of its needs, and decides whether it may start.

use std::collections::BTreeMap;

use super::port::Port;
use crate::{
    ids::JobName,
    record::Conclusion,
    spec::JobSpec,
    status::{self, Claim, Evidence, Need},
};

/// A finished need with its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedResult {
    /// The need, as the status algebra takes it.
    pub need: Need,
    /// The outputs of its steps.
    pub outputs: BTreeMap<String, String>,
}

/// Reads the results of the job's needs. PID 1 starts a job when its needs are over. So a need
/// without a result was killed before it could write one, which is a failure that may count as
/// success. Or systemd dropped it after a failure of its own needs, which skips it.
pub fn needs(spec: &JobSpec, port: &Port) -> Vec<NeedResult> {
    let read = |job| read(spec, port, job);
    spec.needs.iter().map(read).collect()
}

fn read(spec: &JobSpec, port: &Port, job: &JobName) -> NeedResult {
    let (result, has_started) = port.result_of_need(job);
    let evidence = Evidence::Need {
        claim: result.as_ref().map(|result| Claim::of(&result.record)),
        has_started,
        has_setup: spec.hooked_needs.contains(job),
    };
    let verdict = status::verdict(&evidence, spec.tolerated_needs.contains(job));
    let failed = result
        .as_ref()
        .map_or(verdict.conclusion != Conclusion::Success, |result| {
            result.failed
        });
    NeedResult {
        need: Need {
            job: job.clone(),
            conclusion: verdict.conclusion,
            failed,
        },
        outputs: result.map_or_else(BTreeMap::new, |result| result.record.outputs),
    }
}

/// Returns the content of `$NIXACTIONS_NEEDS`: `{job: {result, outputs}}`.
pub fn needs_json(needs: &[NeedResult]) -> serde_json::Value {
    let entry = |need: &NeedResult| {
        let value =
            serde_json::json!({ "result": need.need.conclusion.as_str(), "outputs": need.outputs });
        (need.need.job.to_string(), value)
    };
    serde_json::Value::Object(needs.iter().map(entry).collect())
}
