//! Finds the parts of a valid plan that the engine cannot run yet. The engine refuses such a plan
//! and names these parts.

use super::{
    Env,
    fault::{At, Fault},
    model::{ContainerMode, Executor, Plan},
    properties,
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
            Executor::Nspawn {
                mode,
                private_users,
                capabilities,
                properties,
                ..
            } => {
                if *mode == ContainerMode::Shared {
                    let at = at.key("mode");
                    found.add(
                        &at,
                        "`shared`",
                        "`isolated` (the engine cannot share one yet)",
                    );
                }
                if !private_users && !capabilities.is_empty() {
                    let expected = "none without `privateUsers` (they would count on the host)";
                    found.add(&at.key("capabilities"), "capabilities", expected);
                }
                found.properties(properties, &at.key("properties"));
            }
        }
    }
    for (name, job) in &plan.jobs {
        let executor = job
            .executor
            .as_ref()
            .and_then(|name| plan.executors.get(name));
        if let Some(Executor::Nspawn { .. }) = executor {
            let at = root.key("jobs");
            found.properties(&job.properties, &at.key(name.as_str()).key("properties"));
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

    /// Adds the properties that would mean nothing to the processes in a container.
    fn properties(&mut self, properties: &Env, at: &At<'_>) {
        let names = properties.keys();
        for name in names.filter(|name| !properties::reaches_containers(name)) {
            self.add(
                &at.key(name),
                &format!("`{name}` for a container of systemd-nspawn"),
                "limits of resources (systemd.resource-control(5), `Limit…`), or scheduling",
            );
        }
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
            "executors": { "box": { "type": "nspawn", "root": "/r" }, "open": { "type": "nspawn", "root": "/r", "privateUsers": false, "capabilities": ["CAP_KILL"] },
                "shared": { "type": "nspawn", "root": "/r", "mode": "shared", "properties": { "MemoryMax": "1G", "PrivateTmp": "yes" } }, "fine": { "type": "systemd" },
                "image": { "type": "systemd", "image": { "oci": "/i" } }, "light": { "type": "systemd", "root": "/r" } },
            "jobs": { "a": { "executor": "box", "properties": { "LimitNOFILE": "5", "ProtectHome": "yes" }, "steps": [{ "bash": "x" }] } } }"#;
        let expected = [
            "$.executors.open.capabilities",
            "$.executors.shared.mode",
            "$.executors.shared.properties.PrivateTmp",
            "$.jobs.a.properties.ProtectHome",
        ];
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
