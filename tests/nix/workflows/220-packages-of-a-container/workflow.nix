{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.oci {
    image = "/srv/images/alpine.tar";
    extraPackages = [ ];
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
