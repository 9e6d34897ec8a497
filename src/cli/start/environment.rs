//! What the caller adds to a plan's environment: `--env`, `--secret-env-file`, `--env-file`, the
//! variables that the plan names, and inputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io::Read,
    path::Path,
};

use crate::plan::{Env, InputError, Plan, resolve_inputs, set_by_engine};

/// Variables of the caller that never reach a job: they say who the caller is, not what the job
/// needs.
const NEVER_PASSED: [&str; 5] = ["PATH", "HOME", "USER", "SHELL", "TMPDIR"];

/// What is wrong with what the caller added.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `--env` or `--input` without `=`.
    #[error("`{option} {text}` is not of the form NAME=value")]
    NoValue {
        /// The option.
        option: &'static str,
        /// What was given, up to where a value might begin.
        text: String,
    },
    /// A name that is none.
    #[error("`{name}` is no name of a variable")]
    BadName {
        /// The name.
        name: String,
    },
    /// A value that no process can be given.
    #[error("variable `{name}` {what}")]
    BadValue {
        /// The variable.
        name: String,
        /// What is wrong with its value.
        what: &'static str,
    },
    /// A variable that the engine sets itself.
    #[error("variable `{name}` cannot be set: the engine sets it {reason}")]
    Taken {
        /// The variable.
        name: String,
        /// Where or from what the engine sets it.
        reason: &'static str,
    },
    /// The environment file cannot be read.
    #[error("failed to read `{path}`: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// A line of the environment file.
    #[error("`{path}`, line {line}: {what}")]
    BadLine {
        /// Which file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it; never its value.
        what: &'static str,
    },
    /// All secret variables together are too large.
    #[error("the secret variables have {size} bytes, at most {SECRETS_MAX} can be handed to a job")]
    TooManySecrets {
        /// Their size, as they are handed on.
        size: usize,
    },
    /// An input.
    #[error(transparent)]
    Input(#[from] InputError),
}

impl EnvironmentError {
    /// Returns what the user can do about it.
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

/// The longest `NAME=value` that a process can be given, in bytes (execve(2), `MAX_ARG_STRLEN`).
const VALUE_MAX: usize = 128 * 1024;

/// How large the secret variables may be, in bytes as JSON: what systemd loads of a unit's
/// credentials (systemd.exec(5), `LoadCredential=`), with some room for others.
const SECRETS_MAX: usize = 512 << 10;

/// The largest environment file that is read, in bytes: far more than a process can be given.
const FILE_MAX: u64 = 16 << 20;

/// What the caller adds to a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Variables that outrank the plan's.
    pub overrides: Env,
    /// Those of them that are secret; none is among the others.
    pub secrets: Env,
    /// The names of those that were taken from the caller's own environment.
    pub taken: Vec<String>,
    /// `INPUT_<K>` variables.
    pub inputs: Env,
}

/// Collects what the caller adds: the strongest last, `--env` over `--secret-env-file` over
/// `--env-file` over the caller's own variables.
///
/// # Errors
/// Fails with every fault at once.
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

/// Returns the caller's variables that a plan names: each key of an `env`, and `passEnv`.
fn named(plan: &Plan) -> BTreeSet<&str> {
    let jobs = plan.jobs.values().flat_map(|job| {
        job.env
            .keys()
            .chain(job.steps.iter().flat_map(|step| step.env.keys()))
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
    if is_name(name) {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(EnvironmentError::BadName {
            name: name.chars().take(40).collect(),
        })
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_value(name: &str, value: &str) -> Option<EnvironmentError> {
    let what = if value.contains('\0') {
        "has a NUL in its value"
    } else if name.len() + value.len() + 2 > VALUE_MAX {
        "is longer than the 128 KiB that a process can be given"
    } else {
        return None;
    };
    Some(EnvironmentError::BadValue {
        name: name.to_owned(),
        what,
    })
}

/// Reads a file of `NAME=value` lines; comments, empty lines, `export ` before a name and quotes
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
        if !is_name(name) {
            return Err(bad("does not begin with a variable's name"));
        }
        pairs.push((
            name.to_owned(),
            unquote(value).ok_or_else(|| bad("has a quote that is not closed"))?,
        ));
    }
    Ok(pairs)
}

/// Removes quotes as a shell would: nothing is special in single quotes, a backslash is in double
/// quotes.
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
mod tests {
    use super::*;

    fn plan(json: &str) -> Plan {
        serde_json::from_str(json).unwrap()
    }

    const PLAN: &str = r#"{"version":1,"name":"w","env":{"A":"plan","PATH":"/p"},"passEnv":["TOKEN","HOME"],
        "inputs":{"n":{"type":"number","default":1},"c":{"type":"choice","options":["x","y"],"required":true},"b":{"type":"boolean"}},
        "jobs":{"j":{"env":{"B":"1"},"steps":[{"bash":"true","env":{"C":"1"}}]}}}"#;
    const NO_FILES: [&str; 0] = [];

    #[test]
    fn only_variables_that_the_plan_names_are_taken_and_never_path_or_home() {
        let got = collect(
            &plan(PLAN),
            &[],
            &NO_FILES,
            &NO_FILES,
            &["c=x".into()],
            |name| Some(format!("caller {name}").into()),
        )
        .unwrap();
        assert_eq!(got.taken, ["A", "B", "C", "TOKEN"]);
        assert_eq!(got.overrides["TOKEN"], "caller TOKEN");
    }

    #[test]
    fn env_outranks_env_file_outranks_the_caller() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(
            &file,
            "# comment\nexport A=\"file \\\"quoted\\\"\"\nB='it''s'\nTOKEN=x=y\n",
        )
        .unwrap();
        let got = collect(
            &plan(PLAN),
            &["B=flag".into()],
            &[&file],
            &NO_FILES,
            &["c=x".into()],
            |_| Some("caller".into()),
        )
        .unwrap();
        assert_eq!(
            (
                &*got.overrides["A"],
                &*got.overrides["B"],
                &*got.overrides["C"],
                &*got.overrides["TOKEN"]
            ),
            ("file \"quoted\"", "flag", "caller", "x=y")
        );
    }

    #[test]
    fn secret_variables_stand_apart_from_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("env"), dir.path().join("secret"));
        std::fs::write(&file, "A=file\nB=file\n").unwrap();
        std::fs::write(&secret, "export B='secret'\nC=secret\nTOKEN=secret\n").unwrap();
        let got = collect(
            &plan(PLAN),
            &["C=flag".into()],
            &[&file],
            &[&secret],
            &["c=x".into()],
            |_| Some("caller".into()),
        )
        .unwrap();
        let env = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<Env>()
        };
        assert_eq!(got.overrides, env(&[("A", "file"), ("C", "flag")]));
        assert_eq!(got.secrets, env(&[("B", "secret"), ("TOKEN", "secret")]));
        assert_eq!(got.taken, ["A"]);
        std::fs::write(
            &secret,
            (0..6)
                .map(|n| format!("S{n}={}\n", "x".repeat(100 << 10)))
                .collect::<String>(),
        )
        .unwrap();
        let faults = collect(
            &plan(PLAN),
            &[],
            &NO_FILES,
            &[&secret],
            &["c=x".into()],
            |_| None,
        )
        .unwrap_err();
        assert!(
            faults[0]
                .to_string()
                .starts_with("the secret variables have "),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn inputs_are_checked_and_all_faults_told_at_once() {
        let faults = collect(
            &plan(PLAN),
            &["=x".into(), "A".into()],
            &NO_FILES,
            &NO_FILES,
            &["n=one".into(), "z=1".into()],
            |_| None,
        )
        .unwrap_err();
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "`` is no name of a variable",
                "`--env A` is not of the form NAME=value",
                "the plan has no input `z`",
                "input `c` is required",
                "input `n` is \"one\", expected a number",
            ]
        );
    }

    #[test]
    fn variables_that_the_engine_sets_are_refused() {
        let given = [
            "INPUT_N=1",
            "NIXACTIONS_JOB=x",
            "NEEDS_J_RESULT=x",
            "FREE=1",
        ];
        let faults = collect(
            &plan(PLAN),
            &given.map(str::to_owned),
            &NO_FILES,
            &NO_FILES,
            &["c=x".into()],
            |_| None,
        )
        .unwrap_err();
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "variable `INPUT_N` cannot be set: the engine sets it from the inputs",
                "variable `NEEDS_J_RESULT` cannot be set: the engine sets it from the needs",
                "variable `NIXACTIONS_JOB` cannot be set: the engine sets it in every step",
            ]
        );
        assert_eq!(
            faults[0].hint(),
            Some("set the input with `--input NAME=VALUE`")
        );
    }

    #[test]
    fn inputs_reach_steps_with_their_defaults() {
        let got = collect(
            &plan(PLAN),
            &[],
            &NO_FILES,
            &NO_FILES,
            &["c=y".into()],
            |_| None,
        )
        .unwrap();
        assert_eq!(
            got.inputs,
            Env::from([
                ("INPUT_C".into(), "y".into()),
                ("INPUT_N".into(), "1".into())
            ])
        );
    }

    #[test]
    fn values_that_no_process_can_be_given_are_refused() {
        let faults = collect(
            &plan(PLAN),
            &[format!("A={}", "x".repeat(200 << 10)), "B=a\0b".into()],
            &NO_FILES,
            &NO_FILES,
            &["c=x".into()],
            |_| None,
        )
        .unwrap_err();
        assert_eq!(faults.len(), 2);
    }

    #[test]
    fn a_bad_line_of_an_env_file_is_told_without_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "A=1\nsecret\n").unwrap();
        let faults = collect(
            &plan(PLAN),
            &[],
            &[&file],
            &NO_FILES,
            &["c=x".into()],
            |_| None,
        )
        .unwrap_err();
        assert!(
            faults[0]
                .to_string()
                .ends_with("env`, line 2: is not of the form NAME=value"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn what_is_not_text_is_told_with_its_place() {
        use std::os::unix::ffi::OsStringExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, b"A=1\n# two\nB=\xff\n").unwrap();
        let caller = |name: &str| (name == "TOKEN").then(|| OsString::from_vec(vec![0xff]));
        let faults = collect(
            &plan(PLAN),
            &[],
            &[&file],
            &NO_FILES,
            &["c=x".into()],
            caller,
        )
        .unwrap_err();
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts[0],
            "variable `TOKEN` of your environment is not UTF-8"
        );
        assert!(
            texts[1].ends_with("env`, line 3: is not UTF-8"),
            "{texts:?}"
        );
    }

    #[test]
    fn a_file_that_does_not_end_is_not_read_to_its_end() {
        let faults = collect(
            &plan(PLAN),
            &[],
            &["/dev/zero"],
            &NO_FILES,
            &["c=x".into()],
            |_| None,
        )
        .unwrap_err();
        assert_eq!(
            faults[0].to_string(),
            "failed to read `/dev/zero`: it is larger than 16 MiB"
        );
    }
}
