# Images of workflows: a service for each workflow that has any, which the workflow's own service
# starts before each run. It has the network and the rights to unpack files, which the workflow's
# service has not, and the logins to registries.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  values = import ./values.nix { inherit lib; };
  inherit (import ./text.nix { inherit lib; }) word;
  imagesOf = import ./images-of.nix { inherit lib; };
  enabled = lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows;
  workflows = lib.filterAttrs (_: workflow: (imagesOf [ workflow ]).unpacks) enabled;
  unit = name: "nixactions-images@${name}";

  images =
    name: workflow:
    let
      needs = imagesOf [ workflow ];
    in
    lib.mkMerge [
      (import ./obtain.nix { inherit lib cfg; } needs (word workflow.built))
      {
        description = "Images of workflow ${name}";
        # A stop of the workflow's service stops this one.
        partOf = [ "nixactions@${name}.service" ];
        unitConfig.X-StopOnRemoval = false;
      }
    ];
in
{
  options.services.nixactions.registryAuthFile = lib.mkOption {
    type = lib.types.nullOr values.credentialFile;
    default = null;
    example = "/run/secrets/registries.json";
    description = ''
      The file with the logins to registries, as `podman login` writes it
      ({manpage}`containers-auth.json(5)`). The services that pull images get it, and no workflow's
      service and no job.
    '';
  };

  config = lib.mkIf cfg.enable {
    systemd.services = lib.mkMerge [
      (lib.mapAttrs' (name: workflow: lib.nameValuePair (unit name) (images name workflow)) workflows)
      (lib.mapAttrs' (
        name: _:
        lib.nameValuePair "nixactions@${name}" {
          # This file keeps pulled images until a run has its own locks on them.
          serviceConfig.ExecStopPost = [
            "-${pkgs.coreutils}/bin/rm -f %S/nixactions/images/kept/${unit name}.service"
          ];
        }
      ) workflows)
    ];
    # After a loss of power, no service has removed these files, so the boot does.
    systemd.tmpfiles.rules = [ "r! /var/lib/nixactions/images/kept/*" ];
  };
}
