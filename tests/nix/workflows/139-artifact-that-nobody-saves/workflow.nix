{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build = {
      outputs.dist = "dist/";
      steps = [ { bash = "true"; } ];
    };
    test = {
      needs = [ "build" ];
      inputs = [ "dits" ];
      steps = [ { bash = "true"; } ];
    };
  };
}
