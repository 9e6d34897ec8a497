# The workflow's values, those of executors, and those of jobs, from the weakest to the strongest.
{ nixactions, ... }:
let
  inherit (nixactions) executors;
  steps = [ { bash = "true"; } ];
in
nixactions.mkWorkflow {
  name = "defaults";
  sandbox = "relaxed";
  properties = {
    MemoryMax = "1G";
    TasksMax = 10;
    Nice = 1;
  };
  credentials = {
    token = "/etc/ci/token";
    pin = "/etc/ci/pin";
  };
  credentialsEncrypted.key = "/etc/ci/key.cred";
  jobs = {
    plain = { inherit steps; };
    own = {
      inherit steps;
      properties.MemoryMax = "3G";
      credentials.key = "/etc/ci/plain-key";
      credentialsEncrypted.pin = "/etc/ci/pin.cred";
      executor = executors.systemd {
        name = "big";
        sandbox = "strict";
        properties = {
          MemoryMax = "2G";
          TasksMax = 20;
        };
      };
    };
    silent = {
      inherit steps;
      executor = executors.systemd { name = "silent"; };
    };
    hooks = {
      inherit steps;
      executor = nixactions.mkExecutor {
        name = "hooks";
        executeJob = "true";
      };
    };
  };
}
