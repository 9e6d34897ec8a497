{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  env = _: { };
  jobs.build.steps = [ { bash = "true"; } ];
}
