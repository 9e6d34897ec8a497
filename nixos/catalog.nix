# Explanations of our messages in the journal (journalctl(1), `--catalog`).
{ config, lib, ... }:
let
  cfg = config.services.nixactions;
in
{
  config = lib.mkIf cfg.enable {
    # journalctl reads the catalogs of systemd itself and those in this directory, which NixOS does
    # not have, into one database.
    systemd.services.nixactions-catalog = {
      description = "Explanations of NixActions' messages in the journal";
      documentation = [ "man:nixactions(1)" ];
      wantedBy = [ "multi-user.target" ];
      after = [ "systemd-journal-catalog-update.service" ];
      restartTriggers = [ cfg.package ];
      serviceConfig = lib.mkMerge [
        (import ./sandbox.nix { inherit lib; })
        {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${config.systemd.package}/bin/journalctl --update-catalog";
          TemporaryFileSystem = "/usr/local";
          BindReadOnlyPaths = "${cfg.package}/lib/systemd/catalog:/usr/local/lib/systemd/catalog";
          StateDirectory = "systemd/catalog";
          CapabilityBoundingSet = "";
          RestrictNamespaces = true;
          SystemCallFilter = "@system-service";
        }
      ];
    };
  };
}
