{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.local;
  jobs.a.steps = [ { bash = "true"; } ];
}
