# Users who are not root and may use the machine's workflows: a rule of polkit's for `systemctl`,
# and the socket behind `nixactions --system` (src/cli/operate/).
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixactions;
  inherit (cfg) operators;
  documentation = [ "man:nixactions(1)" ];
  workflows = lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows;

  inherit (import ./text.nix { inherit lib; }) word;
  # An old run may have images that no workflow has any more.
  images = {
    unpacks = true;
    pulls = true;
  };
  first = pkgs.writeShellScript "first.sh" (builtins.readFile ./first.sh);
  imagesUnit = "nixactions-operate-images@%i.service";
  unknown = known: lib.filter (name: !(known ? ${name}));
  assertionsOf =
    option: known: names:
    map (name: {
      assertion = false;
      message = "services.nixactions.operators.${option}: there is no `${name}` in `users.${option}`: add it there, or remove it here";
    }) (unknown known names);
in
{
  options.services.nixactions.operators = {
    users = lib.mkOption {
      type = lib.types.listOf lib.types.nonEmptyStr;
      default = [ ];
      example = [ "alice" ];
      description = ''
        Users who may start, watch, cancel and rerun the machine's workflows without root: with
        `systemctl start`, `stop` and `restart` for the services of workflows, and with `nixactions
        --system`. They see the output of all runs, and change nothing of what a run does.
      '';
    };

    groups = lib.mkOption {
      type = lib.types.listOf lib.types.nonEmptyStr;
      default = [ ];
      example = [ "wheel" ];
      description = "Groups whose members have the same rights as `users`.";
    };
  };

  config = lib.mkIf (cfg.enable && operators.users ++ operators.groups != [ ]) {
    assertions =
      assertionsOf "users" config.users.users operators.users
      ++ assertionsOf "groups" config.users.groups operators.groups;

    security.polkit = {
      enable = true;
      # systemd tells polkit the unit and the verb (org.freedesktop.systemd1(5), "Security"). Since
      # 257 it tells the same of a transient unit, which could run anything as root. Only the
      # message tells the two apart, besides the unit's file, which systemd lets nobody replace.
      extraConfig = ''
        // Operators of nixactions' workflows.
        polkit.addRule(function(action, subject) {
          if (action.id != "org.freedesktop.systemd1.manage-units") return;
          var units = ${
            builtins.toJSON (map (name: "nixactions@${name}.service") (lib.attrNames workflows))
          };
          var message = action.lookup("polkit.message");
          if (typeof message != "string" || /transient/.test(message)) return;
          var unit = action.lookup("unit");
          var verb = action.lookup("verb");
          // The unit of a job has the name of a run, and the job's after it.
          var run = /^nixactions-[A-Za-z0-9_:-]+-[0-9]+\.service$/.test(unit)
            && !/-[0-9]+-[A-Za-z_]/.test(unit);
          var allowed = run ? ["stop"]
            : units.indexOf(unit) >= 0 ? ["start", "stop", "restart", "reset-failed"] : [];
          if (allowed.indexOf(verb) < 0) return;
          if (${builtins.toJSON operators.users}.indexOf(subject.user) >= 0
              || ${builtins.toJSON operators.groups}.some(function(group) { return subject.isInGroup(group); }))
            return polkit.Result.YES;
        });
      '';
    };

    systemd = {
      sockets.nixactions-operate = {
        description = "Operators of NixActions' workflows";
        inherit documentation;
        wantedBy = [ "sockets.target" ];
        socketConfig = {
          ListenStream = "/run/nixactions-operate.socket";
          # The service refuses strangers, and says why.
          SocketMode = "0666";
          Accept = true;
          # A stranger's connections must not stop the socket for everybody (systemd.socket(5)).
          TriggerLimitIntervalSec = 0;
          MaxConnections = 64;
          MaxConnectionsPerSource = 16;
        };
      };
      services."nixactions-operate@" = {
        description = "Command of an operator of NixActions' workflows";
        inherit documentation;
        # Keeps the unit of the images loaded after a failure, so that a rerun can tell the reason.
        before = [ imagesUnit ];
        path = lib.optional config.nix.enable config.nix.package;
        environment = lib.mkIf config.nix.enable { NIX_REMOTE = lib.mkDefault "daemon"; };
        # A switch to another configuration interrupts no command.
        restartIfChanged = false;
        stopIfChanged = false;
        unitConfig.CollectMode = "inactive-or-failed";
        serviceConfig = lib.mkMerge [
          (import ./sandbox.nix { inherit lib; })
          {
            ExecStart = lib.concatStringsSep " " (
              [
                (lib.getExe cfg.package)
                "operate"
                "%S/nixactions"
                first
                imagesUnit
              ]
              ++ map (name: word "--user=${name}") operators.users
              ++ map (name: word "--group=${name}") operators.groups
            );
            StandardInput = "socket";
            StandardOutput = "journal";
            StandardError = "journal";
            StateDirectory = "nixactions";
            # A rerun makes the run's directory there, like the service of a workflow (units.nix).
            ReadWritePaths = [ "/run" ];
            # A rerun writes a plan here. The unit below obtains the images of that plan.
            RuntimeDirectory = "nixactions-operate/%i";
            RuntimeDirectoryMode = "0700";
            # Runs go on when the command ends.
            KillMode = "mixed";
          }
        ];
      };
      # A rerun starts this service, whose instance is that of the command, and waits for it.
      services."nixactions-operate-images@" = lib.mkMerge [
        (import ./obtain.nix { inherit lib cfg; } images "%t/nixactions-operate/%i")
        {
          description = "Images of a rerun by an operator of NixActions' workflows";
          # It stops when the command ends. By then the run holds its images, or has not begun.
          bindsTo = [ "nixactions-operate@%i.service" ];
          unitConfig.CollectMode = "inactive-or-failed";
          serviceConfig = {
            RemainAfterExit = true;
            ExecStopPost = "-${pkgs.coreutils}/bin/rm -f %S/nixactions/images/kept/%n";
          };
        }
      ];
    };
  };
}
