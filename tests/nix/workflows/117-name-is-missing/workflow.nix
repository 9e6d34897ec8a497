{ nixactions, ... }:
nixactions.mkWorkflow {
  jobs.build.steps = [ { bash = "true"; } ];
}
