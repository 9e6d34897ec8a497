# services.nixactions.*
{
  config,
  lib,
  pkgs,
  ...
}:
let
  types = import ../nix/types.nix { inherit lib; };
  values = import ./values.nix { inherit lib; };
  # A limit of all runs together, or `null`.
  limit =
    type: example: description:
    lib.mkOption {
      type = lib.types.nullOr type;
      default = null;
      inherit example description;
    };
in
{
  options.services.nixactions = {
    enable = lib.mkEnableOption "the services and timers of nixactions' workflows";

    # Works without the overlay.
    package = lib.mkPackageOption {
      nixactions = pkgs.nixactions or (pkgs.callPackage ../nix/package.nix { });
    } "nixactions" { };

    retention = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = true;
        description = ''
          Whether the timer `nixactions-clean.timer` removes old runs: those that are older than
          `maxAge`, those beyond the newest `runs` of their workflow, and the oldest ones while all
          runs together take more than `maxSize`. A run that goes on always stays. So do the newest
          success and the newest failure of each workflow.
        '';
      };

      schedule = lib.mkOption {
        type = lib.types.nonEmptyStr;
        default = "daily";
        example = "hourly";
        description = "When old runs are removed, see {manpage}`systemd.time(7)`.";
      };

      runs = lib.mkOption {
        type = lib.types.nullOr lib.types.ints.positive;
        default = 100;
        description = "The number of runs of each workflow that stay. `null` sets no bound.";
      };

      maxAge = lib.mkOption {
        type = lib.types.nullOr values.age;
        default = "90d";
        description = "The age beyond which runs are removed. `null` sets no bound.";
      };

      maxSize = lib.mkOption {
        type = lib.types.nullOr values.size;
        default = "20G";
        description = "The room on the disk for all runs together. `null` sets no bound.";
      };
    };

    limits = {
      memoryMax =
        limit values.sizeOrShare "16G"
          "The memory of all runs together, `MemoryMax=` of {manpage}`systemd.resource-control(5)`. The kernel ends processes of jobs beyond it.";
      memoryHigh =
        limit values.sizeOrShare "75%"
          "The memory beyond which the kernel slows all runs down, `MemoryHigh=`.";
      cpuQuota = limit values.cpuQuota "400%" "The CPU time of all runs together, `CPUQuota=`.";
      cpuWeight =
        limit values.weight 20
          "The share of the CPU that all runs get beside other services, `CPUWeight=`. The default of other services is 100.";
      ioWeight =
        limit values.weight 20
          "The share of the disks that all runs get beside other services, `IOWeight=`. The default of other services is 100.";
      tasksMax =
        limit values.tasks "20%"
          "The number of processes and threads of all runs together, `TasksMax=`.";
    };

    workflows = lib.mkOption {
      # These names become names of units.
      type = types.attrsOf types.name (
        lib.types.submodule (
          import ./workflow.nix {
            inherit lib;
            inherit (config.lib) nixactions;
          }
        )
      );
      default = { };
      example = lib.literalExpression ''
        {
          nightly = {
            schedule = "02:30";
            source = "/srv/project";
            settings.jobs.test.steps = [ { bash = "./check"; } ];
          };
          mirror = {
            schedule = "hourly";
            package = inputs.project.packages.x86_64-linux.mirror;
          };
        }
      '';
      description = ''
        Workflows by name. A service `nixactions@<name>` runs each of them. The service's result is
        the conclusion of the run.
      '';
    };
  };
}
