{ nixactions, pkgs, ... }:
let
  inherit (nixactions) executors;
  steps = [ { bash = "true"; } ];
in
nixactions.mkWorkflow {
  name = "containers";
  jobs = {
    box = {
      executor = executors.nspawn {
        name = "box";
        root = "/srv/rootfs";
        network = "veth";
        mode = "shared";
        privateUsers = false;
        capabilities = [ "CAP_SYS_ADMIN" ];
        bind = [
          {
            source = "/srv/cache";
            target = "/cache";
          }
          {
            source = "/srv/data";
            target = "/data";
            readOnly = true;
          }
        ];
        env.LANG = "C.UTF-8";
        properties.MemoryMax = "2G";
      };
      inherit steps;
    };
    image = {
      executor = executors.nspawn {
        image = "/srv/images/alpine.tar";
        imageUser = true;
      };
      inherit steps;
    };
    light = {
      executor = executors.systemd {
        name = "light";
        root = pkgs.git;
        mode = "shared";
        network = "private";
      };
      inherit steps;
    };
    registry = {
      executor = executors.systemd {
        image = {
          oci = "docker://localhost:5000/library/alpine";
          digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        };
      };
      inherit steps;
    };
  };
}
