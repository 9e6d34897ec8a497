//! The caller's additions to a plan's environment: `--env`, `--secret-env-file`, `--env-file`, the
//! variables that the plan names, and inputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io::Read,
    path::Path,
};

use nixactions_core::settings::{fits_process, is_variable_name};

use crate::plan::{Env, InputError, Plan, resolve_inputs, set_by_engine};

/// Variables of the caller that never reach a job, since they describe the caller.
const NEVER_PASSED: [&str; 5] = ["PATH", "HOME", "USER", "SHELL", "TMPDIR"];

/// A fault in the caller's additions.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `--env` or `--input` without `=`.
    #[error("`{option} {text}` is not of the form NAME=value")]
    NoValue {
        /// The option.
        option: &'static str,
        /// The given text, up to where a value might begin.
        text: String,
    },
    /// The name is invalid.
    #[error("invalid variable name `{name}`")]
    BadName {
        /// The name.
        name: String,
    },
    /// A process cannot take the value.
    #[error("variable `{name}` {what}")]
    BadValue {
        /// The variable.
        name: String,
        /// The fault of its value.
        what: &'static str,
    },
    /// A variable that the engine sets itself.
    #[error("variable `{name}` cannot be set: the engine sets it {reason}")]
    Taken {
        /// The variable.
        name: String,
        /// The source of the engine's value, or its place.
        reason: &'static str,
    },
    /// The environment file cannot be read.
    #[error("failed to read `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// A line of the environment file is invalid.
    #[error("`{path}`, line {line}: {what}")]
    BadLine {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The fault, without the value.
        what: &'static str,
    },
    /// All secret variables together are too large.
    #[error("the secret variables have {size} bytes, a job can take at most {SECRETS_MAX}")]
    TooManySecrets {
        /// Their size as JSON.
        size: usize,
    },
    /// An input is invalid.
    #[error(transparent)]
    Input(#[from] InputError),
}

impl EnvironmentError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Input(InputError::Unknown { hint, .. }) => hint.as_deref(),
            Self::Input(InputError::Missing { .. }) => Some("set it with `--input NAME=VALUE`"),
            Self::Taken { name, .. } if name.starts_with("INPUT_") => {
                Some("set the input with `--input NAME=VALUE`")
            }
            Self::Input(InputError::Unfit { .. })
            | Self::NoValue { .. }
            | Self::BadName { .. }
            | Self::BadValue { .. }
            | Self::Taken { .. }
            | Self::Unreadable { .. }
            | Self::BadLine { .. }
            | Self::TooManySecrets { .. } => None,
        }
    }
}

/// The largest size of all secret variables, in bytes as JSON. systemd bounds a unit's credentials
/// (systemd.exec(5), `LoadCredential=`); this leaves some room for others.
const SECRETS_MAX: usize = 512 << 10;

/// The largest environment file, in bytes. A process can take far less.
const FILE_MAX: u64 = 16 << 20;

/// The caller's additions to a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Variables that outrank the plan's.
    pub overrides: Env,
    /// The secret ones among these variables. No variable is in both.
    pub secrets: Env,
    /// The names of variables from the caller's own environment.
    pub taken: Vec<String>,
    /// `INPUT_<K>` variables.
    pub inputs: Env,
}

/// Collects the caller's additions. `--env` outranks `--secret-env-file`, which outranks
/// `--env-file`, which outranks the caller's own variables.
///
/// Fails with all faults at once.
pub fn collect(
    plan: &Plan,
    env: &[String],
    env_files: &[impl AsRef<Path>],
    secret_env_files: &[impl AsRef<Path>],
    inputs: &[String],
    caller: impl Fn(&str) -> Option<OsString>,
) -> Result<Additions, Vec<EnvironmentError>> {
    let mut faults = Vec::new();
    let mut additions = Additions::default();
    for name in named(plan) {
        match caller(name).map(OsString::into_string) {
            Some(Ok(value)) => {
                additions.overrides.insert(name.to_owned(), value);
                additions.taken.push(name.to_owned());
            }
            Some(Err(_)) => faults.push(EnvironmentError::BadValue {
                name: name.to_owned(),
                what: "of your environment is not UTF-8",
            }),
            None => {}
        }
    }
    for path in env_files {
        match read_file(path.as_ref()) {
            Ok(pairs) => additions.overrides.extend(pairs),
            Err(fault) => faults.push(fault),
        }
    }
    for path in secret_env_files {
        match read_file(path.as_ref()) {
            Ok(pairs) => additions.secrets.extend(pairs),
            Err(fault) => faults.push(fault),
        }
    }
    for name in additions.secrets.keys() {
        additions.overrides.remove(name);
        additions.taken.retain(|taken| taken != name);
    }
    for text in env {
        match split(text) {
            Ok((name, value)) => {
                additions.secrets.remove(&name);
                additions.overrides.insert(name, value);
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(
        additions
            .overrides
            .iter()
            .chain(&additions.secrets)
            .filter_map(|(name, value)| check_value(name, value)),
    );
    let given = additions.overrides.keys().chain(additions.secrets.keys());
    let taken = set_by_engine(plan, given.map(String::as_str));
    faults.extend(
        taken
            .into_iter()
            .map(|(name, reason)| EnvironmentError::Taken {
                name: name.to_owned(),
                reason,
            }),
    );
    let size = serde_json::to_vec(&additions.secrets).map_or(usize::MAX, |json| json.len());
    if size > SECRETS_MAX {
        faults.push(EnvironmentError::TooManySecrets { size });
    }
    additions.inputs = collect_inputs(plan, inputs, &mut faults);
    if faults.is_empty() {
        Ok(additions)
    } else {
        Err(faults)
    }
}

/// Returns the variables that a plan names, in an `env` or in `passEnv`.
fn named(plan: &Plan) -> BTreeSet<&str> {
    let jobs = plan.jobs.values().flat_map(|job| {
        job.env.keys().chain(job.steps.iter().flat_map(|step| {
            let of_post = step.post.iter().flat_map(|post| post.env.keys());
            step.env.keys().chain(of_post)
        }))
    });
    plan.env
        .keys()
        .chain(jobs)
        .chain(&plan.pass_env)
        .map(String::as_str)
        .filter(|name| !NEVER_PASSED.contains(name))
        .collect()
}

fn split(text: &str) -> Result<(String, String), EnvironmentError> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| EnvironmentError::NoValue {
            option: "--env",
            text: text.chars().take(40).collect(),
        })?;
    if is_variable_name(name) {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(EnvironmentError::BadName {
            name: name.chars().take(40).collect(),
        })
    }
}

fn check_value(name: &str, value: &str) -> Option<EnvironmentError> {
    let what = if value.contains('\0') {
        "has a NUL in its value"
    } else if !fits_process(name, value) {
        "is longer than the 128 KiB that a process can take"
    } else {
        return None;
    };
    Some(EnvironmentError::BadValue {
        name: name.to_owned(),
        what,
    })
}

/// Reads a file of `NAME=value` lines. Comments, empty lines, `export ` before a name and quotes
/// around a value are allowed.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, EnvironmentError> {
    let shown = path.display().to_string();
    let unreadable = |reason: String| EnvironmentError::Unreadable {
        path: shown.clone(),
        reason,
    };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(unreadable(format!(
            "it is larger than {} MiB",
            FILE_MAX >> 20
        )));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        EnvironmentError::BadLine {
            path: shown.clone(),
            line,
            what: "is not UTF-8",
        }
    })?;
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let bad = |what| EnvironmentError::BadLine {
            path: shown.clone(),
            line: index + 1,
            what,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| bad("is not of the form NAME=value"))?;
        if !is_variable_name(name) {
            return Err(bad("does not begin with a variable's name"));
        }
        pairs.push((
            name.to_owned(),
            unquote(value).ok_or_else(|| bad("has a quote that is not closed"))?,
        ));
    }
    Ok(pairs)
}

/// Removes quotes as a shell does. Nothing is special in single quotes; in double quotes a
/// backslash is.
fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.strip_suffix('\'').map(str::to_owned);
    }
    let Some(rest) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut out = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                escaped @ ('"' | '\\' | '$' | '`') => out.push(escaped),
                other => out.extend(['\\', other]),
            },
            other => out.push(other),
        }
    }
}

fn collect_inputs(plan: &Plan, given: &[String], faults: &mut Vec<EnvironmentError>) -> Env {
    let mut values = BTreeMap::new();
    for text in given {
        match text.split_once('=') {
            Some((name, value)) => drop(values.insert(name.to_owned(), value.to_owned())),
            None => faults.push(EnvironmentError::NoValue {
                option: "--input",
                text: text.chars().take(40).collect(),
            }),
        }
    }
    match resolve_inputs(plan, &values) {
        Ok(variables) => variables,
        Err(errors) => {
            faults.extend(errors.into_iter().map(EnvironmentError::from));
            Env::new()
        }
    }
}

#[cfg(test)]
mod tests;
