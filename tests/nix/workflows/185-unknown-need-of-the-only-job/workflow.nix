{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    needs = [ "buidl" ];
    steps = [ { bash = "true"; } ];
  };
}
