{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  extensions = [ (_: null) ];
  jobs.build.steps = [ { bash = "true"; } ];
}
