//! Runs what users of NixActions' bash compiler bring along: older variables of scripts, functions
//! as hooks, and the variable that kept workspaces.

use nixactions_harness::{Manager, on_managers, or_skip};

const FILE: &str = r#"
{ lib ? import <nixpkgs/lib>, nixactions ? import /srv/nixactions/nix { pkgs = import <nixpkgs> { }; } }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.say = {
    executor = nixactions.executors.local;
    actions = [
      { name = "say"; bash = "echo \"$WORKFLOW_ID $WORKFLOW_NAME\"; test \"$JOB_DIR\" = \"$NIXACTIONS_WORKSPACE\" && bash -c 'echo \"inner $WORKFLOW_ID\"'"; }
    ];
  };
  jobs.hooked = {
    executor = nixactions.mkExecutor {
      name = "box";
      setupWorkspace = { actionDerivations }: "echo ${toString (lib.length actionDerivations)} > \"$NIXACTIONS_EXECUTOR_DIRECTORY/actions\"";
      setupJob = { jobName, actionDerivations }: "echo setup ${jobName}, $(cat \"$NIXACTIONS_EXECUTOR_DIRECTORY/actions\") action";
      executeJob = { jobName, actionDerivations, env }:
        lib.concatMapStrings (action: "${action}/bin/${action.passthru.name}\n") actionDerivations + "echo level ${env.LEVEL}";
      saveArtifact = { name, path, jobName }: "echo \"save ${name} from ${path} of ${jobName}\"";
      cleanupJob = { jobName }: "";
    };
    env.LEVEL = "low";
    outputs.dist = "dist";
    steps = [ { name = "make"; bash = "mkdir dist; echo made"; } ];
  };
}
"#;

on_managers!(a_workflow_of_the_bash_compilers_runs on system_252, system_262);

fn a_workflow_of_the_bash_compilers_runs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    manager.write("ci.nix", FILE);
    let output = nix.output(|| {
        let mut command = nix.nixactions(&["run", "ci.nix", "--output=json"]);
        command.env("NIXACTIONS_KEEP_WORKSPACE", "1");
        command
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("warning: NIXACTIONS_KEEP_WORKSPACE has no effect"),
        "{said}"
    );
    let run = manager.finished(&output).exits(0);
    let lines = run.lines("say");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("ci-") && line.ends_with(" ci")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("inner ci-")),
        "{lines:?}"
    );
    let lines = run.lines("hooked");
    for line in [
        "setup hooked, 1 action",
        "made",
        "level low",
        "save dist from dist of hooked",
    ] {
        assert!(lines.contains(&line), "no `{line}`: {lines:?}");
    }
}
