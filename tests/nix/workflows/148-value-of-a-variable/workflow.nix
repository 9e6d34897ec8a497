{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  env.LIST = [ "a" ];
  jobs.build.steps = [ { bash = "true"; } ];
}
