{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    outputs.${builtins.fromJSON ''"di\u0085st"''} = "dist/";
    steps = [ { bash = "true"; } ];
  };
}
