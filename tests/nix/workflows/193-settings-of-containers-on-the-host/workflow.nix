{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.systemd { network = "private"; };
  jobs.a.steps = [ { bash = "true"; } ];
}
