{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.nspawn {
    root = "/srv/rootfs";
    image = "/srv/images/alpine.tar";
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
