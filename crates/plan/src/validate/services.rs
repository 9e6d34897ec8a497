//! Checks the services of jobs.

use std::collections::BTreeMap;

use super::names::Names;
use crate::{
    fault::{At, Refusal, Sink, quoted},
    ids::NAMES_MAX,
    model::{Health, Plan, Service},
};
use nixactions_core::bounds::SERVICES_MAX;

/// The longest name of a service, in bytes: the longest label in the name of a host (RFC 1123).
const NAME_MAX: usize = 63;
/// The least port: lower ones need a right on the host (ip_unprivileged_port_start, ip(7)).
const PORT_MIN: u16 = 1024;
/// The name that all hosts have for themselves.
const LOCALHOST: &str = "localhost";

/// Checks the services of one job. `at` is the job's place.
pub(super) fn check(
    plan: &Plan,
    job: &str,
    services: &BTreeMap<String, Service>,
    names: &Names<'_>,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let at = at.key("services");
    if services.len() > SERVICES_MAX {
        sink.add(&at, || {
            let found = format!("{} services", services.len());
            Refusal::new(found, format!("at most {SERVICES_MAX}"))
        });
    }
    let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, service) in services {
        let at = at.key(name);
        check_name(plan, job, name, &at, sink);
        match (&service.root, &service.image) {
            (Some(_), Some(_)) => sink.add(&at, || {
                Refusal::new("both `root` and `image`", "one of the two")
            }),
            (_, None) if service.run.is_empty() && !sink.is_broken(&at.key("run")) => {
                sink.add(&at, || {
                    Refusal::new(
                        "neither `run` nor `image`",
                        "an executable and its arguments in `run`",
                    )
                    .hint("only an `image` has a command of its own")
                });
            }
            _ => {}
        }
        if !service.run.is_empty() {
            super::argv(&service.run, &at.key("run"), sink);
        }
        if let Some(root) = &service.root {
            super::containers::check_root(root, &at.key("root"), sink);
        }
        if let Some(image) = &service.image {
            super::containers::check_image(image, &at.key("image"), sink);
        }
        super::env(&service.env, &at.key("env"), names, sink);
        let at_properties = at.key("properties");
        super::properties(&service.properties, &at_properties, sink);
        if service.properties.contains_key("PrivateNetwork") {
            sink.add(&at_properties.key("PrivateNetwork"), || {
                Refusal::new("`PrivateNetwork` of a service", "none")
                    .hint("a service has the network of its job")
            });
        }
        let at_ports = at.key("ports");
        for (i, port) in service.ports.iter().enumerate() {
            let at = at_ports.index(i);
            if sink.is_broken(&at) {
                continue;
            }
            if port.0 < PORT_MIN {
                sink.add(&at, || {
                    let expected = format!("a port from {PORT_MIN} to {}", u16::MAX);
                    Refusal::new(port.0.to_string(), expected).hint(
                        "a service has no right to listen on a port below 1024; let it listen on a higher one",
                    )
                });
            } else if let Some(first) = taken.insert(port.0, name) {
                sink.add(&at, || {
                    let found = format!("port {} again (`{first}` has it already)", port.0);
                    Refusal::new(found, "each port once in a job")
                        .hint("the services of a job have one network")
                });
            }
        }
        if let Some(health) = &service.health {
            check_health(health, &at.key("health"), sink);
        }
    }
}

fn check_name(plan: &Plan, job: &str, name: &str, at: &At<'_>, sink: &mut Sink) {
    let is_host = !name.is_empty()
        && name.len() <= NAME_MAX
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    if !is_host {
        sink.add(at, || {
            let expected = format!(
                "the name of a host: at most {NAME_MAX} lower-case letters, digits and `-`, with a letter first"
            );
            Refusal::new(quoted(name), expected).hint("steps find the service by this name")
        });
    } else if name == LOCALHOST {
        sink.add(at, || {
            Refusal::new(quoted(name), "another name").hint("each host has this name for itself")
        });
    }
    let all = plan.name.as_str().len() + job.len() + 1 + name.len();
    if all > NAMES_MAX {
        sink.add(at, || {
            let found = format!(
                "a name that has {all} bytes together with those of the job and the workflow"
            );
            let expected = format!("at most {NAMES_MAX} bytes (a unit's name holds them)");
            Refusal::new(found, expected)
        });
    }
}

fn check_health(health: &Health, at: &At<'_>, sink: &mut Sink) {
    match (health.run.is_empty(), health.notify) {
        (false, true) => sink.add(at, || {
            Refusal::new("both `run` and `notify`", "one of the two")
        }),
        (true, false) if !sink.is_broken(&at.key("run")) => {
            sink.add(at, || {
                Refusal::new("neither `run` nor `notify`", "one of the two")
                    .hint("without `health`, a service is ready when its ports take connections")
            });
        }
        (false, false) => super::argv(&health.run, &at.key("run"), sink),
        _ => {}
    }
    if health.notify {
        let set = [
            ("interval", health.interval.is_some()),
            ("retries", health.retries.is_some()),
        ];
        for (name, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
            sink.add(&at.key(name), || {
                Refusal::new(format!("`{name}` beside `notify`"), "`timeout` alone")
            });
        }
    }
    if health.retries == Some(0) {
        sink.add(&at.key("retries"), || {
            Refusal::new("0", "a number from 1 on")
        });
    }
}
