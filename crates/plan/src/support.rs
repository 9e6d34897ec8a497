//! Finds the parts of a valid plan that the engine cannot run yet. The engine refuses such a plan
//! and names these parts.

use super::{
    fault::{At, Fault},
    model::{Executor, Plan},
};

/// Returns a fault for each part of a plan that the engine cannot run yet.
pub fn unsupported(plan: &Plan) -> Vec<Fault> {
    let root = At::ROOT;
    let mut found = Found(Vec::new());
    for (name, executor) in &plan.executors {
        let at = root.key("executors");
        let at = at.key(name);
        match executor {
            Executor::Systemd { .. } | Executor::Hooks { .. } => {}
            Executor::Nspawn { .. } => found.kind(&at.key("type"), "nspawn"),
        }
    }
    found.0
}

struct Found(Vec<Fault>);

impl Found {
    fn add(&mut self, at: &At<'_>, found: &str, expected: &str) {
        self.0.push(Fault {
            path: at.to_string(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            hint: None,
        });
    }

    fn kind(&mut self, at: &At<'_>, kind: &str) {
        self.add(
            at,
            &format!("`{kind}`"),
            "`systemd` or `hooks` (the engine cannot run it yet)",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::{parse, unsupported};

    fn paths(plan: &str) -> Vec<String> {
        unsupported(&parse(plan.as_bytes()).unwrap())
            .into_iter()
            .map(|fault| fault.path)
            .collect()
    }

    #[test]
    fn unsupported_parts_are_named() {
        let plan = r#"{ "version": 1, "name": "a",
            "executors": { "box": { "type": "nspawn", "root": "/r" }, "fine": { "type": "systemd" },
                "image": { "type": "systemd", "image": { "oci": "/i" } }, "light": { "type": "systemd", "root": "/r" } },
            "jobs": { "a": { "steps": [{ "bash": "x" }] } } }"#;
        let expected = ["$.executors.box.type"];
        assert_eq!(paths(plan), expected);
    }

    #[test]
    fn all_other_parts_are_supported() {
        let plan = r#"{ "version": 1, "name": "a", "env": { "A": "b" }, "envFrom": [["/p"]], "passEnv": ["B"], "inputs": { "x": { "type": "string" } }, "retry": { "maxAttempts": 2 }, "timeout": 5,
            "maxParallel": 2, "concurrency": { "group": "g", "cancelInProgress": true }, "executors": { "fine": { "type": "systemd", "sandbox": "none", "copyRepo": false, "properties": { "MemoryMax": "1G" } },
                "own": { "type": "hooks", "executeJob": ["/x"] } },
            "jobs": {
                "a": { "executor": "fine", "matrix": { "group": "m", "values": { "os": "x" }, "failFast": false, "maxParallel": 2 }, "outputs": { "x": "x" }, "timeout": null, "retry": null, "envFrom": [["/p"]], "properties": { "Nice": "5" },
                       "steps": [{ "run": ["/x"], "env": { "A": "b" }, "envFrom": [["/p", "x"]], "workdir": "w", "condition": "failure()", "continueOnError": true, "timeout": 1, "retry": null }] },
                "b": { "needs": ["a"], "condition": " always() ", "inputs": ["x"], "continueOnError": true, "steps": [{ "bash": "x" }] },
                "c": { "condition": "test -f x", "steps": [{ "bash": "x", "condition": "test -f y" }] } } }"#;
        assert!(paths(plan).is_empty());
    }
}
