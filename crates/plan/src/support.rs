//! Finds the parts of a valid plan that the engine cannot run yet. The engine refuses such a plan
//! and names these parts.

use super::{
    Env,
    fault::{At, Fault},
    model::{ContainerMode, Executor, Network, Plan},
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
            Executor::Systemd { properties, .. } if is_shared(executor) => {
                found.users(properties, &at.key("properties"));
            }
            Executor::Systemd { .. } | Executor::Hooks { .. } => {}
            Executor::Nspawn {
                private_users,
                capabilities,
                properties,
                ..
            } => {
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
        let at = root.key("jobs");
        let at = at.key(name.as_str());
        if let Some(executor) = executor.filter(|_| !job.services.is_empty()) {
            let at = at.key("services");
            let is_veth = executor
                .container()
                .is_some_and(|container| container.network == Network::Veth);
            if is_veth {
                let expected = "an executor with the network `host` or `private`";
                found.add(&at, "services of a job with the network `veth`", expected);
            }
            if is_shared(executor) {
                let expected = "an executor with the mode `isolated`";
                found.add(&at, "services of a job in a shared container", expected);
            }
        }
        match executor {
            Some(Executor::Nspawn { .. }) => {
                found.properties(&job.properties, &at.key("properties"));
            }
            Some(executor @ Executor::Systemd { .. }) if is_shared(executor) => {
                found.users(&job.properties, &at.key("properties"));
            }
            _ => {}
        }
    }
    found.0
}

/// Returns whether all jobs of an executor share one container.
fn is_shared(executor: &Executor) -> bool {
    let container = executor.container();
    container.is_some_and(|container| container.mode == ContainerMode::Shared)
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

    /// Adds the properties that would give jobs in one container different users.
    fn users(&mut self, properties: &Env, at: &At<'_>) {
        for name in ["User", "Group", "DynamicUser"] {
            if properties.contains_key(name) {
                let found = format!("`{name}` in a container that jobs share");
                self.add(&at.key(name), &found, "none: its jobs have one user");
            }
        }
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
                "one": { "type": "systemd", "root": "/r", "mode": "shared", "properties": { "User": "alice", "Nice": "5" } },
                "image": { "type": "systemd", "image": { "oci": "/i" } }, "light": { "type": "systemd", "root": "/r" } },
            "jobs": { "a": { "executor": "box", "properties": { "LimitNOFILE": "5", "ProtectHome": "yes" }, "steps": [{ "bash": "x" }] },
                "b": { "executor": "one", "properties": { "Group": "bob", "ProtectHome": "yes" }, "steps": [{ "bash": "x" }] } } }"#;
        let expected = [
            "$.executors.one.properties.User",
            "$.executors.open.capabilities",
            "$.executors.shared.properties.PrivateTmp",
            "$.jobs.a.properties.ProtectHome",
            "$.jobs.b.properties.Group",
        ];
        assert_eq!(paths(plan), expected);
    }

    #[test]
    fn services_in_shared_containers_are_refused() {
        for kind in ["systemd", "nspawn"] {
            let plan = format!(
                r#"{{ "version": 1, "name": "a", "executors": {{ "one": {{ "type": "{kind}", "root": "/r", "mode": "shared" }} }},
                    "jobs": {{ "a": {{ "executor": "one", "services": {{ "db": {{ "run": ["x"] }} }}, "steps": [{{ "bash": "x" }}] }} }} }}"#
            );
            assert_eq!(paths(&plan), ["$.jobs.a.services"], "{kind}");
        }
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
