{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  extensions = [ { env.A = "b"; } ];
  jobs.build.steps = [ { bash = "true"; } ];
}
