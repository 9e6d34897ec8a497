//! The plans for the measurements.

use serde_json::{Value, json};

/// Returns a plan of one-step jobs in layers. Each job needs all jobs of the layer before.
pub fn layers(jobs: usize, width: usize, sandbox: &str) -> Value {
    let job = |index: usize| {
        let layer = index / width;
        let needs: Vec<String> = if layer == 0 {
            Vec::new()
        } else {
            ((layer - 1) * width..layer * width)
                .map(|need| format!("j{need}"))
                .collect()
        };
        (
            format!("j{index}"),
            json!({ "executor": "e", "needs": needs, "steps": [{ "run": ["/bin/true"] }] }),
        )
    };
    plan(sandbox, (0..jobs).map(job).collect(), json!(1000))
}

/// Returns a plan of one matrix whose jobs each take a second.
pub fn matrix(jobs: usize, max_parallel: usize, sandbox: &str) -> Value {
    let matrix = json!({ "group": "all", "maxParallel": max_parallel });
    let job = |index: usize| {
        (
            format!("j{index}"),
            json!({ "executor": "e", "matrix": matrix, "steps": [{ "run": ["sleep", "1"] }] }),
        )
    };
    plan(sandbox, (0..jobs).map(job).collect(), json!(1000))
}

/// Returns a plan of one job.
pub fn one(sandbox: &str, argv: &[&str]) -> Value {
    plan(
        sandbox,
        [(
            "j0".to_owned(),
            json!({ "executor": "e", "steps": [{ "run": argv }] }),
        )]
        .into_iter()
        .collect(),
        json!(2),
    )
}

/// Returns a plan of jobs side by side in a root file system, by an executor of this type.
pub fn in_root(kind: &str, root: &str, jobs: usize, max_parallel: usize) -> Value {
    let job = json!({ "executor": "e", "steps": [{ "run": ["/bin/true"] }] });
    let jobs = (0..jobs).map(|index| (format!("j{index}"), job.clone()));
    let mut plan = plan("strict", jobs.collect(), json!(max_parallel));
    plan["executors"]["e"] = json!({ "type": kind, "copyRepo": false, "root": root });
    plan
}

/// Returns a plan of one job that prints 300,000 lines. If there are secrets, every hundredth line
/// contains one.
pub fn printing(secrets: usize) -> Value {
    let print = "BEGIN { for (i = 0; i < 300000; i++)
        print \"line \" i \": some text, as long as a compiler's\" (i % 100 ? \"\" : \" with secret-value-\" i / 100 % 100 + 1 \"-of-many\") }";
    let provide = format!(
        "for n in $(seq {secrets}); do echo \"export SECRET_$n=secret-value-$n-of-many\"; done"
    );
    let providers: &[Value] = if secrets == 0 {
        &[]
    } else {
        &[json!(["sh", "-c", provide])]
    };
    let job =
        json!({ "executor": "e", "envFrom": providers, "steps": [{ "run": ["awk", print] }] });
    plan(
        "none",
        [("j0".to_owned(), job)].into_iter().collect(),
        json!(2),
    )
}

fn plan(sandbox: &str, jobs: serde_json::Map<String, Value>, max_parallel: Value) -> Value {
    let executor = json!({ "type": "systemd", "copyRepo": false, "sandbox": sandbox });
    json!({ "version": 1, "name": "bench", "maxParallel": max_parallel, "executors": { "e": executor }, "jobs": jobs })
}
