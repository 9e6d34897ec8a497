# A workflow whose images are pulled, with a login, one whose image is an archive, one with an image
# of a service beside a job, one with a directory in the store, and one that needs none of these,
# though it has such an executor: no job has it.
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
    registryAuthFile = "/run/secrets/registries-%1.json";
    workflows = {
      pulls = {
        source.git.url = "https://git.example.org/project.git";
        settings.jobs.test = {
          inherit steps;
          executor = executors.systemd { image = "docker://docker.io/library/alpine:3"; };
        };
      };
      unpacks.settings.jobs.test = {
        inherit steps;
        executor = executors.nspawn { image = "/srv/image.tar"; };
      };
      service.settings.jobs.test = {
        inherit steps;
        services.cache = {
          image = "docker://docker.io/library/memcached:1";
          ports = [ 11211 ];
        };
      };
      directory.settings.jobs.test = {
        inherit steps;
        executor = executors.systemd {
          root = "${builtins.storeDir}/00000000000000000000000000000000-root";
        };
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
