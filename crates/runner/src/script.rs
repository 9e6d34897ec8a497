//! The scripts of steps: their files and shells, and the directories in which steps run.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
    process,
};

use nixactions_expression::template::is_template;

use super::{
    env::{Environment, Level},
    files::write_anew,
    job::Job,
    step::find,
};
use crate::{programs, spec::StepSpec};

/// The shell of scripts in a root file system without bash.
const SH: &str = "/bin/sh";
/// The place of the script's file in the arguments of its shell.
const SCRIPT_FILE: &str = "{0}";

impl Job<'_> {
    /// Writes a script to a file of this name, and returns its command.
    pub(super) fn bash(
        &self,
        name: &str,
        script: &str,
        path: &str,
    ) -> Result<process::Command, String> {
        let file = self.write_script(&format!("{name}.sh"), script)?;
        let bash = if self.spec.own_root {
            bash_of_root(path)
        } else {
            Some(find("bash", path))
        };
        let mut command = match bash {
            Some(bash) => {
                let mut command = process::Command::new(bash);
                command.args(["--noprofile", "--norc", "-eo", "pipefail"]);
                command
            }
            None => {
                let mut command = process::Command::new(SH);
                command.arg("-e");
                command
            }
        };
        command.arg(file);
        Ok(command)
    }

    /// Writes the script of a step to a file, and returns the command of its shell.
    pub(super) fn script(
        &self,
        index: usize,
        shell: &[String],
        text: &str,
        path: &str,
    ) -> Result<process::Command, String> {
        let (program, arguments) = shell.split_first().ok_or("has no shell")?;
        let mut command = process::Command::new(shell_of(program, path)?);
        // Some programs want a certain extension, and all take a name without one.
        let file = self.write_script(&format!("{index}-script"), text)?;
        let file = file.to_string_lossy();
        command.args(
            arguments
                .iter()
                .map(|part| part.replace(SCRIPT_FILE, &file)),
        );
        Ok(command)
    }

    fn write_script(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let file = self.spec.files_directory.join(name);
        write_anew(&file, text.as_bytes())
            .map_err(|error| format!("its script cannot be written: {error}"))?;
        Ok(file)
    }

    /// Returns the directory in which a step runs.
    pub(super) fn directory(
        &self,
        index: usize,
        step: &StepSpec,
        environment: &Environment,
    ) -> Result<PathBuf, String> {
        let workspace = self.port.workspace();
        // The values in the path may have changed since the step ran that this one cleans up after.
        let cleaned = step.post_of.and_then(|of| self.spec.steps.get(of));
        if cleaned.is_some_and(|cleaned| cleaned.workdir == step.workdir)
            && let Some(directory) = step.post_of.and_then(|of| self.begun.get(&of))
        {
            return Ok(directory.clone());
        }
        let Some(workdir) = &step.workdir else {
            return Ok(self.spec.working_dir.clone().unwrap_or(workspace));
        };
        if !is_template(workdir) {
            return Ok(workspace.join(workdir));
        }
        let filled = self
            .filled(workdir, environment, Level::Step(index))
            .map_err(|why| format!("its working directory: {why}"))?;
        inside(&workspace, &filled)
    }
}

/// Returns the directory that a path with filled in values names in the workspace.
fn inside(workspace: &Path, path: &str) -> Result<PathBuf, String> {
    let is_plain = !path.is_empty() && !path.contains('\0');
    let climbs = Path::new(path)
        .components()
        .any(|part| part == Component::ParentDir);
    let joined = workspace.join(path);
    if is_plain && !climbs && joined.starts_with(workspace) {
        Ok(joined)
    } else {
        Err(format!(
            "its working directory `{}` is not in the workspace",
            path.escape_debug()
        ))
    }
}

/// Returns the path of the program that runs a script.
fn shell_of(program: &str, path: &str) -> Result<OsString, String> {
    if program.contains('/') {
        return if Path::new(program).exists() {
            Ok(program.into())
        } else {
            Err(format!("its shell `{program}` does not exist"))
        };
    }
    programs::find(programs::directories(path.as_ref()), program)
        .map(PathBuf::into_os_string)
        .ok_or_else(|| format!("its shell `{program}` was not found in PATH"))
}

/// Returns the path of bash in a root file system of the job's own, if it has one.
fn bash_of_root(path: &str) -> Option<OsString> {
    let first = [PathBuf::from("/bin")].into_iter();
    let directories = first.chain(programs::directories(path.as_ref()));
    programs::find(directories, "bash").map(PathBuf::into_os_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_in_directory_stays_in_the_workspace() {
        let inside = |path| inside(Path::new("/w"), path);
        assert_eq!(inside("/w/a"), Ok("/w/a".into()));
        assert_eq!(inside("/w"), Ok("/w".into()));
        assert_eq!(inside("a/./b"), Ok("/w/a/b".into()));
        for outside in ["", "/", "/etc", "/wo", "..", "/w/../etc", "a/../..", "a\0b"] {
            assert!(inside(outside).is_err(), "{outside:?}");
        }
    }
}
