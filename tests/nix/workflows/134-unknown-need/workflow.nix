{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build.steps = [ { bash = "true"; } ];
    test = {
      needs = [ "buidl" ];
      steps = [ { bash = "true"; } ];
    };
  };
}
