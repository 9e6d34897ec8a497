{ nixactions, pkgs, ... }:
let
  inherit (nixactions) executors;
  steps = [ { bash = "true"; } ];
in
nixactions.mkWorkflow {
  name = "executors";
  # Nobody uses it, so it is not in the plan, and its name is free.
  executor = executors.local { copyRepo = false; };
  jobs = {
    local = {
      executor = executors.local { };
      inherit steps;
    };
    local-too = {
      executor = executors.local { };
      inherit steps;
    };
    systemd = {
      executor = executors.systemd {
        name = "big";
        sandbox = "none";
        properties.CPUQuota = "200%";
      };
      inherit steps;
    };
    nspawn = {
      executor = executors.nspawn {
        root = "/srv/container";
        network = "private";
      };
      inherit steps;
    };
    container = {
      executor = executors.nixosContainer {
        name = "container";
        root = pkgs.git;
      };
      inherit steps;
    };
    hooks = {
      executor = nixactions.mkExecutor {
        name = "box";
        copyRepo = false;
        deps = [ pkgs.git ];
        setupWorkspace = "git init work";
        executeJob = ''
          cat "$NIXACTIONS_STEPS"
        '';
        cleanupWorkspace = pkgs.git;
      };
      inherit steps;
    };
  };
}
