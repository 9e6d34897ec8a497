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
  executor = values.executor {
    inherit types;
    inherit (config.services.nixactions) executors;
  };
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

    executors = lib.mkOption {
      type = types.attrsOf types.name types.executor;
      apply = lib.mapAttrs (name: executor: executor // { inherit name; });
      default = { };
      example = lib.literalExpression ''
        let
          inherit (config.lib.nixactions) executors;
        in
        {
          big = executors.systemd { properties.MemoryMax = "8G"; };
          debian = executors.systemd { root = "/srv/debian.squashfs"; };
        }
      '';
      description = ''
        Executors of all workflows, by name. `settings` of a workflow name one of them, as in
        `settings.jobs.build.executor = "big";`.
      '';
    };

    executor = lib.mkOption {
      type = lib.types.nullOr executor;
      default = null;
      example = "big";
      description = ''
        Where jobs of `settings` run that name no executor, in workflows that name none either.
      '';
    };

    inherit (values) notify;

    maxConcurrentJobs = lib.mkOption {
      # The program knows the same bound.
      type = lib.types.nullOr (lib.types.ints.between 1 512);
      default = null;
      example = 8;
      description = ''
        The most jobs of all runs together that run at once, also of runs that a person starts. A
        job beyond it waits, and `systemctl status` says so. It applies to the runs that start from
        then on. `null` sets no bound.
      '';
    };

    diskReserve = lib.mkOption {
      type = lib.types.nullOr values.size;
      default = null;
      example = "10G";
      description = ''
        The free room on the disk of {file}`/var/lib/nixactions` below which no run starts. A run of
        a workflow's service waits until there is more, and `systemctl status` says so. `null` sets
        no bound.
      '';
    };

    memoryPressureLimit = lib.mkOption {
      type = lib.types.nullOr (lib.types.ints.between 1 100);
      default = null;
      example = 60;
      description = ''
        The pressure on the machine's memory beyond which no run starts: the share of the last 10 s,
        in percent, in which some process waited for memory ({file}`/proc/pressure/memory`). A run of
        a workflow's service waits until there is less, and `systemctl status` says so. `null` sets
        no bound.
      '';
    };

    drainTimeout = lib.mkOption {
      type = lib.types.nullOr values.timeSpan;
      default = null;
      example = "30min";
      description = ''
        How long a shutdown or a reboot waits for the runs of workflows that go on. Those that have
        not ended by then are cancelled. This sets `InhibitDelayMaxSec=` of
        {manpage}`logind.conf(5)`, so that other programs may delay a shutdown as long. It applies
        from the next boot on. With `null`, a shutdown cancels all runs at once.
      '';
    };

    sandbox = lib.mkOption {
      type = lib.types.nullOr types.sandbox;
      default = null;
      defaultText = lib.literalExpression ''"strict"'';
      example = "relaxed";
      description = ''
        How much of the host the jobs of all workflows see, unless their workflow or their executor
        says so. See sandbox.md.
      '';
    };

    properties = lib.mkOption {
      type = lib.types.attrsOf types.variable;
      default = { };
      example = {
        MemoryMax = "4G";
        TasksMax = 1000;
      };
      description = ''
        Properties of the units of all jobs, see {manpage}`systemd.exec(5)` and
        {manpage}`systemd.resource-control(5)`. Those of a workflow, of an executor and of a job are
        stronger.
      '';
    };

    workflows = lib.mkOption {
      # These names become names of units.
      type = types.attrsOf types.name (
        lib.types.submodule (
          import ./workflow.nix {
            inherit lib;
            inherit (config.lib) nixactions;
            inherit (config.services.nixactions) sandbox properties;
            defaultExecutor = config.services.nixactions.executor;
            types = types // {
              inherit executor;
            };
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
