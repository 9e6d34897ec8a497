{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    a-b.steps = [ { bash = "true"; } ];
    a_b.steps = [ { bash = "true"; } ];
    both = {
      needs = [
        "a-b"
        "a_b"
      ];
      steps = [ { bash = "true"; } ];
    };
    one = {
      needs = [ "a_b" ];
      steps = [ { bash = "true"; } ];
    };
  };
}
