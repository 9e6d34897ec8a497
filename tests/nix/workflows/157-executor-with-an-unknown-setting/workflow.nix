{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.systemd { propertys.MemoryMax = "1G"; };
  jobs.a.steps = [ { bash = "true"; } ];
}
