{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    a = {
      needs = [ "q" ];
      steps = [ { bash = "true"; } ];
    };
    b.steps = [ { bash = "true"; } ];
  };
}
