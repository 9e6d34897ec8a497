//! Fits the environment of a process to the kernel's limits.
//!
//! Linux takes arguments and `NAME=value` variables of at most 128 KiB each, and all of them
//! together up to a quarter of the stack's limit (execve(2), "Limits on size of arguments and
//! environment"). Variables that do not fit are left out, so that the process still starts.

use std::{collections::BTreeMap, process::Command};

use nix::sys::resource::{Resource, getrlimit};

use super::{env::Environment, job::Job};
use crate::settings::{ARG_BYTES_MAX, fits_process};

/// The least and the greatest limit of Linux on arguments and variables together, in bytes.
const ALL_MIN: u64 = 128 << 10;
const ALL_MAX: u64 = 6 << 20;
/// The paths that the kernel adds: of the program and of its interpreter.
const PATHS: usize = 2 * 4096;
/// The overhead of each argument and variable: its final NUL and its pointer.
const EACH: usize = 1 + size_of::<usize>();

/// A variable that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LeftOut {
    name: String,
    /// The length of its value, in bytes.
    bytes: usize,
    /// Whether it is too long by itself. If not, all variables together are too long.
    is_too_long: bool,
}

impl Job<'_> {
    /// Sets a command's variables, and drops all others of the runner's environment. Logs each
    /// variable that does not fit once.
    pub(super) fn set_variables(
        &mut self,
        command: &mut Command,
        mut variables: BTreeMap<String, String>,
        environment: &Environment,
    ) {
        let room = room();
        let left_out = fit(
            &mut variables,
            arguments(command),
            room,
            |name| environment.is_output(name),
            |name| environment.is_promised(name),
        );
        for LeftOut {
            name,
            bytes,
            is_too_long,
        } in left_out
        {
            let why = if is_too_long {
                format!("it has {bytes} bytes, and a process takes {ARG_BYTES_MAX} in one variable")
            } else {
                format!(
                    "all variables together have more than the {room} bytes that a process takes"
                )
            };
            let place = if environment.is_output_of_need(&name) {
                "its value is in $NIXACTIONS_NEEDS"
            } else {
                "put its value into a file"
            };
            self.warn_once(format!(
                "variable `{name}` is left out of the environment: {why}; {place}"
            ));
        }
        command.env_clear().envs(variables);
    }
}

/// Returns the limit of this process on arguments and variables together, in bytes.
fn room() -> usize {
    let stack = getrlimit(Resource::RLIMIT_STACK).map_or(ALL_MIN, |(soft, _)| soft / 4);
    usize::try_from(stack.clamp(ALL_MIN, ALL_MAX)).unwrap_or(usize::MAX)
}

/// Takes out the variables that do not fit beside the process' arguments. First it takes those that
/// are too long by themselves. Then it takes the longest outputs, until there is room for the
/// process' own commands as well. Last it takes the longest other variables that are not promised,
/// until the kernel takes the rest.
fn fit(
    variables: &mut BTreeMap<String, String>,
    arguments: usize,
    room: usize,
    is_output: impl Fn(&str) -> bool,
    is_promised: impl Fn(&str) -> bool,
) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    variables.retain(|name, value| {
        // `=` and the final NUL count as well.
        let fits = fits_process(name, value);
        if !fits {
            left_out.push(LeftOut {
                name: name.clone(),
                bytes: value.len(),
                is_too_long: true,
            });
        }
        fits
    });
    let size = |name: &str, value: &str| name.len() + 1 + value.len() + EACH;
    let mut all = arguments
        + PATHS
        + variables
            .iter()
            .map(|(name, value)| size(name, value))
            .sum::<usize>();
    if all <= room - room / 8 {
        return left_out;
    }
    let mut drop_longest = |bound: usize, may_go: &dyn Fn(&str) -> bool| {
        let mut longest: Vec<_> = variables
            .iter()
            .filter(|(name, _)| may_go(name))
            .map(|(name, value)| (size(name, value), name.clone()))
            .collect();
        longest.sort();
        while all > bound
            && let Some((bytes, name)) = longest.pop()
        {
            all -= bytes;
            let value = variables.remove(&name).unwrap_or_default();
            left_out.push(LeftOut {
                name,
                bytes: value.len(),
                is_too_long: false,
            });
        }
    };
    drop_longest(room - room / 8, &is_output);
    drop_longest(room, &|name| !is_promised(name));
    left_out
}

/// Returns the size of a command's arguments, including its program's name.
fn arguments(command: &Command) -> usize {
    command
        .get_args()
        .chain([command.get_program()])
        .map(|argument| argument.len() + EACH)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(left_out: &[LeftOut]) -> Vec<&str> {
        left_out.iter().map(|one| one.name.as_str()).collect()
    }

    fn variables(sizes: &[(&str, usize)]) -> BTreeMap<String, String> {
        sizes
            .iter()
            .map(|(name, size)| ((*name).to_owned(), "x".repeat(*size)))
            .collect()
    }

    /// Returns whether execve(2) takes these variables.
    fn kernel_takes(variables: &BTreeMap<String, String>, arguments: &[String]) -> bool {
        let mut command = Command::new("/bin/true");
        command.args(arguments).env_clear().envs(variables);
        command.status().is_ok()
    }

    #[test]
    fn the_limit_of_one_variable_is_the_kernels() {
        let most = ARG_BYTES_MAX - "A=".len() - 1;
        for (size, fits) in [(most, true), (most + 1, false)] {
            let mut all = variables(&[("A", size), ("B", 1)]);
            assert_eq!(kernel_takes(&all, &[]), fits);
            let left_out = fit(&mut all, 0, room(), |_| false, |_| false);
            assert_eq!(left_out.is_empty(), fits);
            assert!(all.contains_key("B"));
        }
    }

    #[test]
    fn the_limit_of_all_variables_is_the_kernels() {
        let sizes: Vec<(String, usize)> = (0..80).map(|n| (format!("V{n}"), 100_000)).collect();
        let sizes: Vec<(&str, usize)> = sizes
            .iter()
            .map(|(name, size)| (name.as_str(), *size))
            .collect();
        let arguments: Vec<String> = (0..5).map(|_| "y".repeat(50_000)).collect();
        let taken = arguments.iter().map(|text| text.len() + EACH).sum();
        let mut all = variables(&sizes);
        assert!(!kernel_takes(&all, &arguments));
        let left_out = fit(&mut all, taken, room(), |_| false, |_| false);
        assert!(kernel_takes(&all, &arguments));
        // Only as many variables as necessary are left out.
        let last = left_out.last().unwrap();
        all.insert(last.name.clone(), "x".repeat(last.bytes));
        assert!(!kernel_takes(&all, &arguments));
    }

    #[test]
    fn many_short_variables_count_with_their_pointers() {
        let mut all: BTreeMap<String, String> = (0..150_000)
            .map(|n| (format!("V{n}"), String::new()))
            .collect();
        assert!(!kernel_takes(&all, &[]));
        fit(&mut all, 0, room(), |_| false, |_| false);
        assert!(kernel_takes(&all, &[]));
    }

    #[test]
    fn longest_outputs_are_left_out_first_and_leave_room_for_commands() {
        let room = 400_000;
        let is_output = |name: &str| name.starts_with('O');
        let mut all = variables(&[
            ("O1", 100_000),
            ("O2", 110_000),
            ("O3", 10),
            ("V", 120_000),
            ("W", 60_000),
        ]);
        let left_out = fit(&mut all, 0, room, is_output, |_| false);
        assert_eq!(names(&left_out), ["O2"]);
        let mut all = variables(&[
            ("V", 100_000),
            ("W", 110_000),
            ("X", 120_000),
            ("K", 130_000),
            ("O", 5),
        ]);
        let left_out = fit(&mut all, 0, room, is_output, |name| name == "K");
        assert_eq!(names(&left_out), ["O", "X"]);
    }
}
