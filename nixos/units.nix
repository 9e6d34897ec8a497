# Turns options into units. The units of runs are called `nixactions-…` (crates/core/src/names.rs),
# so `nixactions@…` conflicts with none of them.
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

  # A word of a command line. systemd expands neither specifiers nor variables in it
  # (systemd.service(5), "Command lines").
  word = text: lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON "${text}");

  # The arguments `--<option>=<name>=<value>` of a set.
  assignments =
    option: set:
    lib.mapAttrsToList (
      name: value:
      "--${option}=${name}=${if builtins.isBool value then lib.boolToString value else toString value}"
    ) set;

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

  # The arguments for the units that start after a run.
  notify =
    workflow:
    lib.concatMap
      (event: map (unit: "--notify=${event}=${unit}") (cfg.notify.${event} ++ workflow.notify.${event}))
      [
        "failure"
        "success"
        "recovery"
      ];

  sourceOf =
    name: workflow:
    if workflow.source ? git then "/var/lib/nixactions-fetch/${name}/tree" else workflow.source;

  ours = name: workflow: {
    # The service lives as long as the run, and its result is the run's conclusion.
    Type = "notify";
    ExecStart = lib.concatStringsSep " " (
      [
        (lib.getExe cfg.package)
        "run"
        "--manager=system"
        "--state-dir=%S/nixactions"
      ]
      ++ lib.optional (workflow.source != null) (word "--source=${sourceOf name workflow}")
      ++ map word (
        assignments "input" workflow.inputs
        ++ assignments "env" workflow.env
        ++ map (file: "--env-file=${file}") workflow.environmentFiles
        ++ map (file: "--secret-env-file=${file}") workflow.secretFiles
        ++ notify workflow
        ++ lib.optional (cfg.diskReserve != null) "--disk-reserve=${cfg.diskReserve}"
        ++ workflow.arguments
      )
      ++ [ (word workflow.built) ]
    );
    StateDirectory = [ "nixactions" ] ++ lib.optional workflow.resume "nixactions-resume";
    Slice = "nixactions.slice";

    # The client handles SIGTERM like Ctrl-C: it cancels the run. Running steps get 10 s to end, and
    # jobs and steps that clean up get 5 min.
    KillMode = "mixed";
    TimeoutStopSec = lib.mkDefault "6min";
    # For the copy of a large source tree.
    TimeoutStartSec = lib.mkOverride 1100 "10min";

    # Jobs print in bursts.
    LogRateLimitIntervalSec = lib.mkDefault 0;
  };

  timer = name: workflow: {
    description = "Schedule of workflow ${name}";
    inherit documentation;
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = workflow.schedule;
      Persistent = lib.mkDefault workflow.persistent;
    }
    // lib.optionalAttrs (workflow.randomizedDelay != null) {
      RandomizedDelaySec = workflow.randomizedDelay;
    };
  };

  # Each bound applies by itself: a run beyond any of them is removed.
  bounds =
    lib.optional (cfg.retention.maxAge != null) "--older-than=${cfg.retention.maxAge}"
    ++ lib.optional (cfg.retention.runs != null) "--keep=${toString cfg.retention.runs}"
    ++ lib.optional (cfg.retention.maxSize != null) "--max-size=${cfg.retention.maxSize}";
  clean = {
    description = "Removal of old NixActions runs";
    inherit documentation;
    serviceConfig = lib.mkMerge [
      (import ./sandbox.nix { inherit lib; })
      {
        Type = "oneshot";
        ExecStart = map (
          bound: "${lib.getExe cfg.package} --state-dir=%S/nixactions clean --keep-latest ${bound}"
        ) bounds;
        StateDirectory = "nixactions";
        # The removal waits for builds and users.
        Nice = lib.mkDefault 19;
        IOSchedulingClass = lib.mkDefault "idle";
      }
    ];
  };
in
{
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

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
            timerConfig = {
              OnCalendar = cfg.retention.schedule;
              RandomizedDelaySec = lib.mkDefault "10min";
              Persistent = lib.mkDefault true;
            };
          };
        })
      ];

      # The slice of all runs, for limits of their own.
      slices.nixactions = {
        description = "NixActions runs";
        inherit documentation;
        sliceConfig = lib.filterAttrs (_: value: value != null) {
          MemoryMax = cfg.limits.memoryMax;
          MemoryHigh = cfg.limits.memoryHigh;
          CPUQuota = cfg.limits.cpuQuota;
          CPUWeight = cfg.limits.cpuWeight;
          IOWeight = cfg.limits.ioWeight;
          TasksMax = cfg.limits.tasksMax;
        };
      };
    };
  };
}
