{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  inputs.release = { };
  executor = nixactions.executors.oci {
    image = "/srv/images/alpine.tar";
    containerEnv = {
      INPUT_RELEASE = "1";
      LANG = "C.UTF-8";
      NIXACTIONS_RUN = "ci-1";
    };
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
