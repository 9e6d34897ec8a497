{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    steps = [ { bash = "true"; } ];
    actions = [ { bash = "true"; } ];
  };
}
