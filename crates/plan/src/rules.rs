//! Checks of single values: names, paths, variables, executables, conditions.
//!
//! Each rule looks at one text alone. `validate` checks values against each other.

mod condition;
mod meant;

pub(super) use condition::condition;

use super::fault::{Refusal, quoted};
pub(super) use nixactions_core::settings::upper;
use nixactions_core::settings::{ARG_BYTES_MAX, is_variable_name};

/// The most bytes in the name of a step, an artifact or a group.
const LABEL_MAX: usize = 200;
/// The most bytes in a path, and in one of its components (path_resolution(7)).
const PATH_MAX: usize = 4095;
const COMPONENT_MAX: usize = 255;

/// Variables of the caller that never reach a job.
const NEVER_PASSED: &[&str] = &["PATH", "HOME", "USER", "SHELL", "TMPDIR"];
/// Variables that the engine sets for every step, besides `NIXACTIONS` and `NIXACTIONS_*`.
const ENGINE_OWN: &[&str] = &[
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STEP_SUMMARY",
    "JOB_ENV",
];

type Checked = Result<(), Refusal>;

/// Checks a step's name: a short text for one line of a log.
pub(super) fn step_name(name: &str) -> Checked {
    let expected = || format!("a text of 1 to {LABEL_MAX} bytes without control characters");
    if name.trim().is_empty() {
        return Err(Refusal::new(
            if name.is_empty() {
                "an empty name"
            } else {
                "a blank name"
            },
            expected(),
        )
        .hint("leave `name` out"));
    }
    if name.len() > LABEL_MAX || name.contains(char::is_control) {
        return Err(Refusal::new(quoted(name), expected()));
    }
    Ok(())
}

/// Checks the name of an artifact, a matrix or a concurrency group. Files have these names, too.
pub(super) fn file_name(name: &str) -> Checked {
    let bad = name.trim().is_empty()
        || name.starts_with('.')
        || name.contains(|c: char| c == '/' || c.is_control())
        || name.len() > LABEL_MAX;
    if bad {
        let expected = format!(
            "a name of 1 to {LABEL_MAX} bytes, without `/` and control characters, that does not start with `.`"
        );
        return Err(Refusal::new(quoted(name), expected));
    }
    Ok(())
}

/// Checks a credential's name, which names a file in `$CREDENTIALS_DIRECTORY`.
pub(super) fn credential_name(name: &str) -> Checked {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty()
        || name.len() > LABEL_MAX
        || name.starts_with('.')
        || !name.chars().all(is_plain)
    {
        let expected = format!(
            "a name of 1 to {LABEL_MAX} letters, digits, `_`, `-` and `.` that does not start with `.`"
        );
        return Err(Refusal::new(quoted(name), expected));
    }
    if name.starts_with("nixactions.") {
        return Err(Refusal::new(
            quoted(name),
            "a name that does not start with `nixactions.` (the engine's own names do)",
        ));
    }
    Ok(())
}

/// Checks a path inside the workspace.
pub(super) fn workspace_path(path: &str) -> Checked {
    const EXPECTED: &str = "a path inside the workspace";
    let refuse = |hint: &str| Err(Refusal::new(quoted(path), EXPECTED).hint(hint));
    if path.is_empty() {
        refuse("the workspace itself is `.`")
    } else if path.starts_with('/') {
        refuse("the path must not be absolute")
    } else if path.contains('\0') {
        refuse("the path must not contain a NUL character")
    } else if path.split('/').any(|component| component == "..") {
        refuse("the path must not contain `..`")
    } else if path.len() > PATH_MAX
        || path
            .split('/')
            .any(|component| component.len() > COMPONENT_MAX)
    {
        refuse("a path has at most 4095 bytes, and each of its components 255")
    } else {
        Ok(())
    }
}

/// Checks the path of an artifact in the workspace.
pub(super) fn artifact_path(path: &str) -> Checked {
    if path.contains("${{") {
        return Err(Refusal::new(quoted(path), "a path inside the workspace")
            .hint("`outputs` are artifacts; values that dependents read are in `outputsFrom`"));
    }
    workspace_path(path)
}

/// Checks an absolute path on the host.
pub(super) fn host_path(path: &str) -> Checked {
    let bad = !path.starts_with('/')
        || path.contains('\0')
        || path.split('/').any(|component| component == "..")
        || path.len() > PATH_MAX;
    if bad {
        Err(Refusal::new(quoted(path), "an absolute path without `..`"))
    } else {
        Ok(())
    }
}

/// Checks the file of a credential: a path of the host that every systemd finds. On 257 and 262, a
/// unit whose credential has a path with a blank or a backslash does not start.
pub(super) fn credential_path(path: &str) -> Checked {
    host_path(path)?;
    if path.contains(|c: char| c.is_whitespace() || c == '\\') {
        return Err(
            Refusal::new(quoted(path), "an absolute path without whitespace and `\\`")
                .hint("systemd does not find such a file (257 and 262): give it another name"),
        );
    }
    Ok(())
}

/// Checks the executable of an argv: an absolute path, or a bare name that is looked up in `PATH`.
pub(super) fn executable(path: &str) -> Checked {
    const EXPECTED: &str = "an absolute path, or a bare name that is looked up in PATH";
    if path.is_empty() {
        return Err(Refusal::new("an empty text", EXPECTED));
    }
    if path.contains('/') && !path.starts_with('/') {
        return Err(
            Refusal::new(quoted(path), EXPECTED).hint("run a program of the workspace with `bash`")
        );
    }
    if path.contains(char::is_whitespace) && !path.starts_with('/') {
        return Err(Refusal::new(quoted(path), EXPECTED)
            .hint("write each argument as an item of its own, or run a command line with `bash`"));
    }
    argument(path)
}

/// Checks an argument of an executable.
pub(super) fn argument(text: &str) -> Checked {
    if text.contains('\0') {
        return Err(Refusal::new(
            quoted(text),
            "an argument without NUL characters",
        ));
    }
    if text.len() >= ARG_BYTES_MAX {
        return Err(Refusal::new(
            format!("{} bytes", text.len()),
            format!("an argument of less than {ARG_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

/// Checks a script.
pub(super) fn script(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(Refusal::new("an empty script", "the text of a script"));
    }
    if text.contains('\0') {
        return Err(Refusal::new(
            quoted(text),
            "a script without NUL characters",
        ));
    }
    Ok(())
}

/// Checks the name of a variable.
pub(super) fn variable_name(name: &str) -> Checked {
    if !is_variable_name(name) {
        return Err(Refusal::new(
            format!("the variable {}", quoted(name)),
            "a name of letters, digits and `_` that does not start with a digit",
        ));
    }
    Ok(())
}

/// Checks the value of a variable.
pub(super) fn variable_value(name: &str, value: &str) -> Checked {
    if value.contains('\0') {
        return Err(Refusal::new(
            quoted(value),
            "a value without NUL characters",
        ));
    }
    // To the kernel, `K=V` and a NUL are one string.
    let bytes = name.len() + value.len() + 2;
    if bytes > ARG_BYTES_MAX {
        return Err(Refusal::new(
            format!("{} bytes", value.len()),
            format!("at most {} bytes", ARG_BYTES_MAX - name.len() - 2),
        )
        .hint("the kernel limits the size of a variable; put the text into a file"));
    }
    Ok(())
}

/// Checks that the engine does not set this variable itself.
pub(super) fn own_variable(name: &str) -> Checked {
    if name == "NIXACTIONS" || name.starts_with("NIXACTIONS_") || ENGINE_OWN.contains(&name) {
        return Err(Refusal::new(
            format!("the variable `{name}`"),
            "a variable that the engine does not set itself",
        ));
    }
    Ok(())
}

/// Checks the name of a variable that a run takes from its caller.
pub(super) fn passed_variable(name: &str) -> Checked {
    variable_name(name)?;
    own_variable(name)?;
    if NEVER_PASSED.contains(&name) {
        return Err(Refusal::new(
            format!("the variable `{name}`"),
            "a variable other than PATH, HOME, USER, SHELL and TMPDIR",
        )
        .hint("each job gets its own value; set it in `env`"));
    }
    Ok(())
}

/// Returns the variable in which steps see an input: `INPUT_<K>`, in upper case and with `_` for
/// `-`.
pub fn input_variable(input: &str) -> String {
    format!("INPUT_{}", upper(input))
}

/// Returns the variable that holds a matrix value in the job's steps: `MATRIX_<K>`, in upper case
/// and with `_` for `-`.
pub fn matrix_variable(key: &str) -> String {
    format!("MATRIX_{}", upper(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_paths_stay_inside() {
        for good in [".", "dist/", "./a/b", "a..b", "..."] {
            workspace_path(good).unwrap();
        }
        for bad in ["", "/etc", "..", "a/../../b", "a/..", "a\0b"] {
            workspace_path(bad).unwrap_err();
        }
    }

    #[test]
    fn a_variable_fits_into_one_string_of_the_kernel() {
        let most = ARG_BYTES_MAX - "A=".len() - 1;
        variable_value("A", &"x".repeat(most)).unwrap();
        variable_value("A", &"x".repeat(most + 1)).unwrap_err();
    }

    #[test]
    fn executables_are_absolute_or_bare() {
        for good in ["/bin/true", "true", "/a b/c"] {
            executable(good).unwrap();
        }
        for bad in ["", "./a", "bin/true", "echo hi", "/a\0"] {
            executable(bad).unwrap_err();
        }
    }
}
