{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    a.steps = [ { bash = "true"; } ];
    b = {
      executor = nixactions.executors.local { copyRepo = false; };
      steps = [ { bash = "true"; } ];
    };
  };
}
