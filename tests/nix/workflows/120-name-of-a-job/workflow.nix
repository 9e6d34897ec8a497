{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build.steps = [ { bash = "true"; } ];
    "all tests".steps = [ { bash = "true"; } ];
  };
}
