{ nixactions, pkgs, ... }:
let
  inherit (nixactions) executors;
  steps = [ { bash = "true"; } ];
in
nixactions.mkWorkflow {
  name = "ci";
  jobs.test = {
    executor = executors.oci {
      mode = "isolated";
      image = "docker://docker.io/library/alpine:3.20";
      extraMounts = [
        "/data:/data:ro"
        "/srv/cache:/cache"
      ];
      containerEnv.LANG = "C.UTF-8";
    };
    inherit steps;
  };
  jobs.shared = {
    executor = executors.oci {
      name = "shared";
      mode = "shared";
      image = {
        oci = pkgs.git;
        digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
      };
      imageUser = true;
    };
    inherit steps;
  };
}
