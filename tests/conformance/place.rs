//! Where the runs of a case are, and how they are started and found.

use std::{collections::BTreeMap, path::Path, process::Command};

use nixactions_harness::Manager;

/// Where a case is played, and the runs of it that there are: name and id.
#[derive(Clone)]
pub struct Place<'a> {
    /// The manager.
    pub manager: &'a Manager,
    /// The case's directory inside.
    pub directory: &'a Path,
    /// The runs; that of the case itself is called `RUN`.
    pub runs: Vec<(String, String)>,
}

impl Place<'_> {
    /// Returns a command that runs this plan.
    pub fn run(
        &self,
        file: &str,
        plan: &str,
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Command {
        let plan = self.manager.write(self.directory.join(file), plan);
        let mut arguments = vec![
            "run".to_owned(),
            plan.display().to_string(),
            "--output=json".to_owned(),
        ];
        arguments.extend(args.iter().cloned());
        let mut command = self.manager.nixactions_in(self.directory, &arguments);
        command.envs(env);
        command
    }

    /// Returns the directory inside of the run of that id.
    pub fn run_dir(&self, id: &str) -> String {
        self.manager
            .state_dir()
            .join("runs")
            .join(id)
            .display()
            .to_string()
    }

    /// Puts in what is only known of a run that there is.
    fn fill_in(&self, text: &str) -> String {
        self.runs.iter().fold(text.to_owned(), |text, (name, id)| {
            text.replace(&format!("@{name}_DIR@"), &self.run_dir(id))
                .replace(&format!("@{name}@"), id)
        })
    }

    /// Returns a command of the program, with these arguments filled in.
    pub fn nixactions(&self, arguments: &[String]) -> Command {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| self.fill_in(argument))
            .collect();
        self.manager.nixactions_in(self.directory, &arguments)
    }

    /// Returns a command that runs this script, filled in.
    pub fn bash(&self, script: &str) -> Command {
        self.manager
            .command_in(self.directory, &["bash", "-euc", &self.fill_in(script)])
    }
}
