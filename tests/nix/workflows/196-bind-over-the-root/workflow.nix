{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.nspawn {
    root = "/srv/rootfs";
    bind = [
      {
        source = "/srv";
        target = "/";
      }
    ];
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
