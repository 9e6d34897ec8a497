# Options -> units. Those of runs are called `nixactions-…` (crates/core/src/names.rs); `nixactions@…` can
# meet none of them.
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

  # A word of a command line: neither specifiers nor variables are expanded (systemd.service(5),
  # "Command lines").
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

    # git says what belongs to a source tree. Nix keeps the workflow from being collected; its
    # daemon does, so that the store is not written to from here.
    path = [ pkgs.gitMinimal ] ++ lib.optional config.nix.enable config.nix.package;
    environment = lib.mkIf config.nix.enable { NIX_REMOTE = lib.mkDefault "daemon"; };

    # A new configuration counts from the next run on. Nobody's run is cancelled by a switch, not
    # even when its workflow is gone.
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;

    serviceConfig = lib.mkMerge [
      (import ./sandbox.nix { inherit lib; })
      (ours workflow)
      workflow.serviceConfig
    ];
  };

  ours = workflow: {
    # The service is there as long as the run, and its result is the run's conclusion.
    Type = "notify";
    ExecStart = lib.concatStringsSep " " (
      [
        (lib.getExe cfg.package)
        "run"
        "--manager=system"
        "--state-dir=%S/nixactions"
      ]
      ++ lib.optional (workflow.source != null) (word "--source=${workflow.source}")
      ++ map word (
        assignments "input" workflow.inputs
        ++ assignments "env" workflow.env
        ++ map (file: "--env-file=${file}") workflow.environmentFiles
        ++ map (file: "--secret-env-file=${file}") workflow.secretFiles
        ++ workflow.arguments
      )
      ++ [ (word workflow.built) ]
    );
    StateDirectory = "nixactions";
    Slice = "nixactions.slice";

    # The client takes SIGTERM as Ctrl-C: the run is cancelled, its steps get 10 s to end and what
    # cleans up after them 5 min.
    KillMode = "mixed";
    TimeoutStopSec = lib.mkDefault "6min";
    # Copying a large source tree.
    TimeoutStartSec = lib.mkDefault "10min";

    # What jobs print comes in bursts.
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

  # Each bound on its own: a run goes that is beyond any of them.
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
        # It waits for builds and users.
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

      # All runs, for limits of their own.
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
