{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  passEnv = [
    "PATH"
    "JOB_ENV"
  ];
  jobs.build.steps = [ { bash = "true"; } ];
}
