{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.mkExecutor {
    name = "box";
    setupJob = "true";
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
