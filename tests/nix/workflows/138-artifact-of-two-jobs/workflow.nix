{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    a = {
      outputs.dist = "a/";
      steps = [ { bash = "true"; } ];
    };
    b = {
      outputs.dist = "b/";
      steps = [ { bash = "true"; } ];
    };
  };
}
