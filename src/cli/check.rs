//! `nixactions check`: lists the faults of a plan, or describes what it would do. Starts nothing.

use std::io::{self, Write};

use super::{
    CliError, Exit,
    args::{CheckArgs, TargetArgs},
    block_on,
};
use crate::{
    error::escaped_lines,
    graph::Graph,
    plan::{self, Plan},
    report,
    start::StartError,
    store, systemd,
    unit::{self, Placement},
};

pub(super) fn main(args: &CheckArgs) -> Result<Exit, CliError> {
    let (plan, graph) = load(&args.target)?;
    let unsupported = plan::unsupported(&plan);
    if !unsupported.is_empty() {
        return Err(StartError::Unsupported(unsupported).into());
    }
    io::stdout()
        .write_all(escaped_lines(&report::explain(&plan, &graph)).as_bytes())
        .map_err(CliError::Output)?;
    tell_notes(&plan);
    let lacks_users = !store::are_looked_up() && wants_users(&plan);
    let notes = [
        (lacks_users, DYNAMIC_USERS),
        (!systemd::has_scopes(), unit::NO_SCOPES),
    ];
    if has_sandbox(&plan) {
        for (_, note) in notes.iter().filter(|(is_given, _)| *is_given) {
            // A closed standard error must not fail the check.
            let _ = writeln!(io::stderr(), "note: {note}");
        }
    }
    Ok(Exit::Success)
}

/// Tells what a plan probably does not mean.
fn tell_notes(plan: &Plan) {
    for note in plan::notes(plan) {
        // A closed standard error must not fail the command.
        let _ = writeln!(io::stderr(), "note: {}", escaped_lines(&note));
    }
}

/// The note about a host on which systemd does not look up users.
const DYNAMIC_USERS: &str = "this host does not look up users through systemd (`passwd:` and `group:` in /etc/nsswitch.conf lack `systemd`, see nss-systemd(8)); jobs of root get users by `DynamicUser=`: programs that look in the user database find no home for them, and openat2(2) and setgid directories fail";

/// Returns whether the host looks up the user of any sandboxed job. The user ids of a container
/// have no names.
fn wants_users(plan: &Plan) -> bool {
    let mut places = plan.jobs.values().map(|job| Placement::of(plan, job));
    places.any(|place| place.is_sandboxed() && !place.wants_range())
}

/// Returns whether any job is sandboxed.
fn has_sandbox(plan: &Plan) -> bool {
    let mut jobs = plan.jobs.values();
    jobs.any(|job| Placement::of(plan, job).is_sandboxed())
}

/// Reads or evaluates the plan of a target, and validates it.
pub(super) fn load(target: &TargetArgs) -> Result<(Plan, Graph), CliError> {
    let plan = block_on(target.plan())?;
    let graph = Graph::new(&plan).map_err(StartError::from)?;
    Ok((plan, graph))
}
