{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    needs = [ 1 ];
    steps = [ { bash = "true"; } ];
  };
}
