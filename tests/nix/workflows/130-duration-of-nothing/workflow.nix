{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  timeout = "0s";
  jobs.build.steps = [ { bash = "true"; } ];
}
