{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "my ci";
  jobs.build.steps = [ { bash = "true"; } ];
}
