//! Loads a plan from a file or bytes and checks it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{
    document::{self, PLAN_BYTES_MAX},
    fault::{At, Fault, Faults, PlanError, Refusal, Sink},
    model::{PLAN_VERSION, Plan},
    structure, validate,
};

/// The name of the plan's file in a directory.
const PLAN_FILE: &str = "plan.json";

/// Reads a plan from a file, or from `plan.json` in a directory.
///
/// # Errors
/// The system cannot read the file, or the plan has faults.
pub fn load(path: &Path) -> Result<Plan, PlanError> {
    let path = if path.is_dir() {
        path.join(PLAN_FILE)
    } else {
        path.to_owned()
    };
    let bytes = match read(&path) {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(fault)) => {
            return Err(PlanError::Faulty {
                path,
                faults: fault.into(),
            });
        }
        Err(source) => return Err(PlanError::Read { path, source }),
    };
    parse(&bytes).map_err(|faults| PlanError::Faulty { path, faults })
}

/// Reads a file. Stops reading as soon as the file exceeds the limit.
fn read(path: &Path) -> io::Result<Result<Vec<u8>, Fault>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > PLAN_BYTES_MAX {
        return Ok(Err(document::too_large(size)));
    }
    let mut bytes = Vec::with_capacity(size as usize + 1);
    // A pipe has no size.
    file.take(PLAN_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

/// Returns the plan of a JSON text.
///
/// # Errors
/// All faults of the plan at once.
pub fn parse(bytes: &[u8]) -> Result<Plan, Faults> {
    let mut sink = Sink::default();
    let mut value = document::parse(bytes, &mut sink)?;
    if let Some(version) = value
        .get("version")
        .and_then(serde_json::Value::as_u64)
        .filter(|version| *version > u64::from(PLAN_VERSION))
    {
        // Nothing else is known about a newer version of the plan.
        let refusal = Refusal::new(version.to_string(), format!("version {PLAN_VERSION}"))
            .hint(format!("this program reads version {PLAN_VERSION} only; the plan was compiled for a newer one"));
        return Err(refusal.at(&At::ROOT.key("version")).into());
    }
    structure::check(&mut value, &mut sink);
    if sink.is_full() {
        // Further faults would not be shown.
        return sink
            .finish(())
            .map(|()| unreachable!("invariant: a full sink has faults"));
    }
    match <Plan as serde::Deserialize>::deserialize(value) {
        Ok(plan) => {
            validate::check(&plan, &mut sink);
            sink.finish(plan)
        }
        // The schema and the model come from the same types. Where the model is stricter, the fault
        // repeats serde's message.
        Err(error) => Err(Refusal::new(error.to_string(), "a plan")
            .at(&At::ROOT)
            .into()),
    }
}
