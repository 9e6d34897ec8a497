{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    outputs."a/b" = "dist/";
    steps = [ { bash = "true"; } ];
  };
}
