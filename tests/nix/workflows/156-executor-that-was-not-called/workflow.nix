{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.nspawn;
  jobs.a.steps = [ { bash = "true"; } ];
}
