# Functions as hooks receive what the bash compiler gives them, for each job that they are called
# for.
{ nixactions, lib, ... }:
let
  # A hook that must be given exactly these arguments.
  hook =
    names: text: arguments:
    assert lib.attrNames arguments == names;
    text arguments;
  perJob = hook [
    "actionDerivations"
    "jobName"
  ];
  perArtifact = hook [
    "jobName"
    "name"
    "path"
  ];
  run = action: "${action}/bin/${action.passthru.name} # ${action.passthru.bash}\n";
  box = nixactions.mkExecutor {
    name = "box";
    setupWorkspace = hook [ "actionDerivations" ] (
      { actionDerivations }: "echo ${toString (lib.length actionDerivations)}"
    );
    cleanupWorkspace = hook [ "actionDerivations" ] (_: "# Nothing to do.");
    setupJob = perJob ({ jobName, ... }: ''mkdir -p "$JOB_DIR/${jobName}"'');
    executeJob =
      hook
        [
          "actionDerivations"
          "env"
          "jobName"
        ]
        ({ actionDerivations, env, ... }: lib.concatMapStrings run actionDerivations + "echo ${env.LEVEL}");
    cleanupJob = hook [ "jobName" ] (_: "");
    saveArtifact = perArtifact (
      { name, path, ... }: ''cp -r "${path}" "$NIXACTIONS_EXECUTOR_DIRECTORY/${name}"''
    );
    restoreArtifact = perArtifact (
      { name, path, ... }: ''cp -r "$NIXACTIONS_EXECUTOR_DIRECTORY/${name}" "${path}"''
    );
  };
in
nixactions.mkWorkflow {
  name = "ci";
  env.LEVEL = "workflow";
  jobs = {
    build = {
      executor = box;
      env.LEVEL = "low";
      outputs.dist = "dist/";
      steps = [
        {
          name = "make";
          bash = "mkdir dist";
        }
      ];
    };
    test = {
      executor = box;
      needs = [ "build" ];
      env.LEVEL = "high";
      inputs = [ "dist" ];
      steps = [ { bash = "test -d dist"; } ];
    };
  };
}
