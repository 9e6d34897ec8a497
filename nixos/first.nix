# The services that a workflow's own service starts before each run, and waits for (first.sh). Each
# has the rights that its work needs, and the workflow's service has none of them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  imagesOf = import ./images-of.nix { inherit lib; };
  inherit (import ./command.nix { inherit lib cfg; }) room;
  inherit (import ./text.nix { inherit lib; }) word;

  firstOf =
    name: workflow:
    lib.optional (
      workflow.source ? git
    ) "nixactions-fetch@${name}.service fetch ${word "`${workflow.source.git.url}`"}"
    ++
      lib.optional (imagesOf [ workflow ]).unpacks
        "nixactions-images@${name}.service obtain the images";
  first = lib.filterAttrs (_: units: units != [ ]) (
    lib.mapAttrs firstOf (lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows)
  );
in
{
  config = lib.mkIf cfg.enable {
    systemd.services = lib.mapAttrs' (
      name: units:
      lib.nameValuePair "nixactions@${name}" {
        serviceConfig = {
          # Before the hooks of an administrator, which find the new tree.
          ExecStartPre = lib.mkBefore (
            lib.optional (
              room != [ ]
            ) "${lib.getExe cfg.package} await-room %S/nixactions ${lib.concatStringsSep " " room}"
            ++ map (unit: "${pkgs.runtimeShell} ${./first.sh} ${unit}") units
          );
          # The wait for room tells the status.
          NotifyAccess = lib.mkIf (room != [ ]) (lib.mkDefault "exec");
          # Each of them may take 30 minutes.
          TimeoutStartSec = lib.mkDefault "${toString (15 + 30 * lib.length units)}min";
        };
      }
    ) first;
  };
}
