# The commands of services, as lists of words: here and in the module of home-manager.
{ lib, cfg }:
let
  inherit (import ./text.nix { inherit lib; }) word;
  program = lib.getExe cfg.package;

  # The arguments `--<option>=<name>=<value>` of a set.
  assignments =
    option: set:
    lib.mapAttrsToList (
      name: value:
      "--${option}=${name}=${if builtins.isBool value then lib.boolToString value else toString value}"
    ) set;

  # The bounds beyond which no run starts.
  room =
    lib.optional (cfg.diskReserve != null) "--disk-reserve=${cfg.diskReserve}"
    ++ lib.optional (
      cfg.memoryPressureLimit != null
    ) "--memory-pressure-limit=${toString cfg.memoryPressureLimit}";

  # The arguments for the units that start after a run.
  notify =
    workflow: event:
    map (unit: "--notify=${event}=${unit}") (cfg.notify.${event} ++ workflow.notify.${event});
in
{
  inherit room;

  # Runs a workflow. `options` are more options of `nixactions run`.
  run =
    options: source: workflow:
    lib.concatStringsSep " " (
      [
        program
        "run"
      ]
      ++ options
      ++ lib.optional (source != null) (word "--source=${source}")
      ++ map word (
        assignments "input" workflow.inputs
        ++ assignments "env" workflow.env
        ++ map (file: "--env-file=${file}") workflow.environmentFiles
        ++ map (file: "--secret-env-file=${file}") workflow.secretFiles
        ++ lib.concatMap (notify workflow) [
          "failure"
          "success"
          "recovery"
        ]
        ++ room
        ++ lib.optional (cfg.drainTimeout != null) "--delay-shutdown"
        ++ workflow.arguments
      )
      ++ [ (word workflow.built) ]
    );

  # Removes old runs. Each bound applies by itself: a run beyond any of them is removed.
  clean =
    options:
    map (bound: lib.concatStringsSep " " ([ program ] ++ options ++ [ "clean --keep-latest ${bound}" ]))
      (
        lib.optional (cfg.retention.maxAge != null) "--older-than=${cfg.retention.maxAge}"
        ++ lib.optional (cfg.retention.runs != null) "--keep=${toString cfg.retention.runs}"
        ++ lib.optional (cfg.retention.maxSize != null) "--max-size=${cfg.retention.maxSize}"
      );

  # Limits of all runs together.
  limits = lib.filterAttrs (_: value: value != null) {
    MemoryMax = cfg.limits.memoryMax;
    MemoryHigh = cfg.limits.memoryHigh;
    CPUQuota = cfg.limits.cpuQuota;
    CPUWeight = cfg.limits.cpuWeight;
    IOWeight = cfg.limits.ioWeight;
    TasksMax = cfg.limits.tasksMax;
  };

  # The settings that all services of workflows have in common.
  service = {
    # The service lives as long as the run, and its result is the run's conclusion.
    Type = "notify";
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

  timer =
    workflow:
    {
      OnCalendar = workflow.schedule;
      Persistent = lib.mkDefault workflow.persistent;
    }
    // lib.optionalAttrs (workflow.randomizedDelay != null) {
      RandomizedDelaySec = workflow.randomizedDelay;
    };

  cleanTimer = {
    OnCalendar = cfg.retention.schedule;
    RandomizedDelaySec = lib.mkDefault "10min";
    Persistent = lib.mkDefault true;
  };
}
