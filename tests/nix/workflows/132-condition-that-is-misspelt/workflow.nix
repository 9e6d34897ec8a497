{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    condition = "canceled()";
    steps = [ { bash = "true"; } ];
  };
}
