# Workflows that start again after a boot if the machine went down in the middle of a run.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  workflows = lib.filterAttrs (_: workflow: workflow.enable && workflow.resume) cfg.workflows;
  file = name: "/var/lib/nixactions-resume/${name}";
  call = name: what: "${pkgs.runtimeShell} ${./resume.sh} ${what} ${file name}";
in
{
  config = lib.mkIf cfg.enable {
    # A workflow without `resume` starts no run again, also not when it gets `resume` later. Files
    # of workflows that the configuration no longer names go with the next clean-up.
    systemd.tmpfiles.rules =
      map (name: "r ${file name}") (
        lib.attrNames (lib.filterAttrs (name: _: !workflows ? ${name}) cfg.workflows)
      )
      ++ [ "e /var/lib/nixactions-resume - - - 0" ]
      ++ lib.concatMap (name: [
        "x ${file name}"
        "x ${file name}.new"
      ]) (lib.attrNames workflows);
    systemd.services = lib.mkMerge [
      (lib.mapAttrs' (
        name: _:
        lib.nameValuePair "nixactions@${name}" {
          serviceConfig = {
            # Neither may fail the service. Before all that takes time.
            ExecStartPre = lib.mkOrder 400 [ "-${call name "began"}" ];
            ExecStopPost = [ "-${call name "ended"}" ];
          };
        }
      ) workflows)
      (lib.mapAttrs' (
        name: workflow:
        lib.nameValuePair "nixactions-resume@${name}" {
          description = "Start of workflow ${name} after a run that the machine interrupted";
          documentation = [ "man:nixactions(1)" ];
          wantedBy = [ "multi-user.target" ];
          # Once in a boot.
          restartIfChanged = false;
          stopIfChanged = false;
          unitConfig.X-StopOnRemoval = false;
          serviceConfig = lib.mkMerge [
            (import ./sandbox.nix { inherit lib; })
            {
              Type = "oneshot";
              RemainAfterExit = true;
              ExecStart = "${call name "again"} nixactions@${name}.service /var/lib/nixactions/runs/${workflow.built.plan.name}";
              StateDirectory = "nixactions-resume";
              CapabilityBoundingSet = "";
              RestrictNamespaces = true;
              SystemCallFilter = "@system-service";
            }
          ];
        }
      ) workflows)
    ];
  };
}
