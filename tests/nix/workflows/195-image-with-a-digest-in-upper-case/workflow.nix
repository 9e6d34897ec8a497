{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.oci {
    image = {
      oci = "/srv/images/alpine.tar";
      digest = "sha256:0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";
    };
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
