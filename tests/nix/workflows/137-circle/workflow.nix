{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    a = {
      needs = [ "b" ];
      steps = [ { bash = "true"; } ];
    };
    b = {
      needs = [ "c" ];
      steps = [ { bash = "true"; } ];
    };
    c = {
      needs = [ "d" ];
      steps = [ { bash = "true"; } ];
    };
    d = {
      needs = [ "b" ];
      steps = [ { bash = "true"; } ];
    };
  };
}
