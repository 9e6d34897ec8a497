# Turns options into units. The units of runs are called `nixactions-…`
# (crates/core/src/names.rs), so `nixactions@…` conflicts with none of them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  workflows = lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows;
  units =
    unit: workflows:
    lib.mapAttrs' (
      name: workflow: lib.nameValuePair "nixactions@${name}" (unit name workflow)
    ) workflows;
  documentation = [ "man:nixactions(1)" ];

  command = import ./command.nix { inherit lib cfg; };
  imagesOf = import ./images-of.nix { inherit lib; };

  service = name: workflow: {
    description = "Workflow ${name}";
    inherit documentation;
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    inherit (workflow) onSuccess onFailure;

    # git lists the files of a source tree. Nix keeps the workflow from being collected; its daemon
    # does so, and this service does not write to the store.
    path = [ pkgs.gitMinimal ] ++ lib.optional config.nix.enable config.nix.package;
    environment = lib.mkIf config.nix.enable { NIX_REMOTE = lib.mkDefault "daemon"; };

    # Changes apply from the next run. A switch to another configuration cancels no run, even if the
    # run's workflow is removed.
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;

    serviceConfig = lib.mkMerge [
      (import ./sandbox.nix { inherit lib; })
      (ours name workflow)
      workflow.serviceConfig
    ];
  };

  sourceOf =
    name: workflow:
    if workflow.source ? git then "/var/lib/nixactions-fetch/${name}/tree" else workflow.source;

  # Images that must be unpacked are there: another unit obtains them first (images.nix).
  options =
    name: workflow:
    [
      "--manager=system"
      "--state-dir=%S/nixactions"
    ]
    ++ lib.optional (imagesOf [ workflow ]).unpacks "--images=nixactions-images@${name}.service";
  ours =
    name: workflow:
    command.service
    // {
      ExecStart = command.run (options name workflow) (sourceOf name workflow) workflow;
      StateDirectory = [ "nixactions" ] ++ lib.optional workflow.resume "nixactions-resume";
      # The service makes the run's directory in memory, `/run/nixactions-<run>`, before there is a
      # unit that could own it. An administrator's hooks add paths, so it must not be a default.
      ReadWritePaths = [ "/run" ];
    };

  timer = name: workflow: {
    description = "Schedule of workflow ${name}";
    inherit documentation;
    wantedBy = [ "timers.target" ];
    timerConfig = command.timer workflow;
  };

  clean = {
    description = "Removal of old NixActions runs";
    inherit documentation;
    serviceConfig = lib.mkMerge [
      (import ./sandbox.nix { inherit lib; })
      {
        Type = "oneshot";
        ExecStart = command.clean [ "--state-dir=%S/nixactions" ];
        StateDirectory = "nixactions";
        # It closes the records of lost runs, whose secrets may lie there.
        ReadWritePaths = [ "/run" ];
        # The removal waits for builds and users.
        Nice = lib.mkDefault 19;
        IOSchedulingClass = lib.mkDefault "idle";
      }
    ];
  };
in
{
  config = lib.mkIf cfg.enable {
    environment = {
      systemPackages = [ cfg.package ];
      # Each run of a workflow's service asks logind for this delay, and has it until its end.
      etc = lib.mkIf (cfg.drainTimeout != null) {
        "systemd/logind.conf.d/nixactions.conf".text = ''
          [Login]
          InhibitDelayMaxSec=${cfg.drainTimeout}
        '';
      };
    };

    systemd = {
      services = lib.mkMerge [
        (units service workflows)
        (lib.mkIf cfg.retention.enable { nixactions-clean = clean; })
      ];
      timers = lib.mkMerge [
        (units timer (lib.filterAttrs (_: workflow: workflow.schedule != [ ]) workflows))
        (lib.mkIf cfg.retention.enable {
          nixactions-clean = {
            description = "Schedule of the removal of old NixActions runs";
            inherit documentation;
            wantedBy = [ "timers.target" ];
            timerConfig = command.cleanTimer;
          };
        })
      ];

      # The program reads it at the start of each run.
      tmpfiles.rules =
        let
          file = "/var/lib/nixactions/max-concurrent-jobs";
        in
        [
          (
            if cfg.maxConcurrentJobs == null then
              "r ${file}"
            else
              "f+ ${file} 0644 root root - ${toString cfg.maxConcurrentJobs}"
          )
        ];

      # The slice of all runs, for limits of their own.
      slices.nixactions = {
        description = "NixActions runs";
        inherit documentation;
        sliceConfig = command.limits;
      };
    };
  };
}
