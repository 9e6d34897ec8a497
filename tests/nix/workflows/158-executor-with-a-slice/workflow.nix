{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.systemd { slice = "ci.slice"; };
  jobs.a.steps = [ { bash = "true"; } ];
}
