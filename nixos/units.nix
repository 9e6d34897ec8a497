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
  units =
    unit: workflows:
    lib.mapAttrs' (
      name: workflow: lib.nameValuePair "nixactions@${name}" (unit name workflow)
    ) workflows;
  documentation = [ "man:nixactions(1)" ];

  # A word of a command line: neither specifiers nor variables are expanded (systemd.service(5),
  # "Command lines").
  word = text: lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON "${text}");

  service = name: workflow: {
    description = "Workflow ${name}";
    inherit documentation;
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];

    # git says what belongs to a source tree. Nix keeps the workflow from being collected; its
    # daemon does, so that the store is not written to from here.
    path = [ pkgs.gitMinimal ] ++ lib.optional config.nix.enable config.nix.package;
    environment = lib.mkIf config.nix.enable { NIX_REMOTE = lib.mkDefault "daemon"; };

    # A new configuration counts from the next run on. Nobody's run is cancelled by a switch, not
    # even when its workflow is gone.
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;

    serviceConfig = import ./sandbox.nix { inherit lib; } // {
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
        ++ map word workflow.arguments
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
  };

  timer = name: workflow: {
    description = "Schedule of workflow ${name}";
    inherit documentation;
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = workflow.schedule;
      Persistent = lib.mkDefault true;
    };
  };
in
{
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    systemd = {
      services = units service cfg.workflows;
      timers = units timer (lib.filterAttrs (_: workflow: workflow.schedule != [ ]) cfg.workflows);

      # All runs, for limits of their own.
      slices.nixactions = {
        description = "NixActions runs";
        inherit documentation;
      };
    };
  };
}
