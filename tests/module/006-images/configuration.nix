# A workflow whose service pulls an image, one whose service unpacks an archive, and one that needs
# neither, though it has such an executor: no job has it.
{ config, ... }:
let
  inherit (config.lib.nixactions) executors;
  steps = [ { bash = "make check"; } ];
in
{
  users.users.alice = { };
  services.nixactions = {
    enable = true;
    retention.enable = false;
    operators.users = [ "alice" ];
    workflows = {
      pulls.settings.jobs.test = {
        inherit steps;
        executor = executors.systemd { image = "docker://docker.io/library/alpine:3"; };
      };
      unpacks.settings.jobs.test = {
        inherit steps;
        executor = executors.nspawn { image = "/srv/image.tar"; };
      };
      neither.settings = {
        executor = executors.systemd {
          name = "unused";
          image = "docker://docker.io/library/alpine:3";
        };
        jobs.test = {
          inherit steps;
          executor = executors.local { };
        };
      };
    };
  };
}
