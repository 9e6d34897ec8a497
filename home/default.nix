# The module of home-manager: the workflows of a user, run by the user's own systemd. It has the
# options of the NixOS module (../nixos), but for those that need root. docs/nixos.md is the
# documentation for users.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  workflows = lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows;
  command = import ../nixos/command.nix { inherit lib cfg; };
  units =
    unit: lib.mapAttrs' (name: workflow: lib.nameValuePair "nixactions@${name}" (unit name workflow));
  Documentation = [ "man:nixactions(1)" ];

  # git lists the files of a source tree, and Nix keeps a workflow from being collected. The last
  # directories are those of other systems than NixOS.
  path = lib.concatStringsSep ":" [
    (lib.makeBinPath [
      pkgs.gitMinimal
      pkgs.coreutils
    ])
    "%h/.nix-profile/bin"
    "/etc/profiles/per-user/%u/bin"
    "/nix/var/nix/profiles/default/bin"
    "/run/current-system/sw/bin"
    "/usr/bin"
    "/bin"
  ];

  service = name: workflow: {
    Unit = {
      Description = "Workflow ${name}";
      inherit Documentation;
      OnSuccess = workflow.onSuccess;
      OnFailure = workflow.onFailure;
      # Changes apply from the next run: a switch to another configuration cancels none.
      X-SwitchMethod = "keep-old";
    };
    Service = lib.mkMerge [
      command.service
      {
        ExecStart = command.run [ "--manager=user" ] workflow.source workflow;
        Environment = [ "PATH=${path}" ];
      }
      workflow.serviceConfig
    ];
  };

  timer = name: workflow: {
    Unit = {
      Description = "Schedule of workflow ${name}";
      inherit Documentation;
    };
    Timer = command.timer workflow;
    Install.WantedBy = [ "timers.target" ];
  };

  refused = option: is: why: {
    assertion = !is;
    message = "services.nixactions.${option}: ${why}: take the NixOS module, or remove it";
  };
  assertionsOf = name: workflow: [
    (refused "workflows.${name}.resume" workflow.resume
      "a user's workflow does not start again after a boot"
    )
    (refused "workflows.${name}.source.git" (
      workflow.source ? git
    ) "a user's workflow fetches no repository")
  ];
in
{
  imports = [
    ../nixos/options.nix
    ../nixos/assertions.nix
  ];

  config = lib.mkMerge [
    {
      # The language, for steps in the configuration: `config.lib.nixactions.mkAction { … }`.
      lib.nixactions = import ../nix {
        inherit lib pkgs;
        nixactions = cfg.package;
      };
    }
    (lib.mkIf cfg.enable {
      home.packages = [ cfg.package ];
      assertions = lib.concatLists (lib.mapAttrsToList assertionsOf workflows) ++ [
        (refused "drainTimeout" (cfg.drainTimeout != null) "a user does not delay a shutdown")
      ];

      systemd.user = {
        services = lib.mkMerge [
          (units service workflows)
          (lib.mkIf cfg.retention.enable {
            nixactions-clean = {
              Unit = {
                Description = "Removal of old NixActions runs";
                inherit Documentation;
              };
              Service = {
                Type = "oneshot";
                ExecStart = command.clean [ ];
              };
            };
          })
        ];
        timers = lib.mkMerge [
          (units timer (lib.filterAttrs (_: workflow: workflow.schedule != [ ]) workflows))
          (lib.mkIf cfg.retention.enable {
            nixactions-clean = {
              Unit = {
                Description = "Schedule of the removal of old NixActions runs";
                inherit Documentation;
              };
              Timer = command.cleanTimer;
              Install.WantedBy = [ "timers.target" ];
            };
          })
        ];
      };
      xdg.stateFile = lib.mkIf (cfg.maxConcurrentJobs != null) {
        "nixactions/max-concurrent-jobs".text = toString cfg.maxConcurrentJobs;
      };

      # A part of a unit, and not a unit: a switch stops slices that have changed, and all runs with
      # this one.
      xdg.configFile."systemd/user/nixactions.slice.d/home.conf".text = lib.generators.toINI { } {
        Unit.Description = "NixActions runs";
        Slice = command.limits;
      };
    })
  ];
}
