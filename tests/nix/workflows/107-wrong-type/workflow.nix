{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    needs = "test";
    steps = [ { bash = "true"; } ];
  };
}
