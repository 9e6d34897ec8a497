{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    stepz = [ { bash = "true"; } ];
  };
}
