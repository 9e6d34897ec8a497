{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    timeout = "90x";
    steps = [ { bash = "true"; } ];
  };
}
