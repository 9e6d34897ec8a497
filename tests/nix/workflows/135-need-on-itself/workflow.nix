{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    needs = [ "build" ];
    steps = [ { bash = "true"; } ];
  };
}
