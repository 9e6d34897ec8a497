# Started by hand, or by another unit, with settings of the user's own over the defaults; on a
# machine without Nix, where no run is removed.
{ config, lib, ... }:
{
  services.nixactions = {
    enable = true;
    retention.enable = false;
    workflows.on-demand.settings.jobs.test.steps = [
      (config.lib.nixactions.mkAction {
        name = "look";
        bash = "true";
      })
    ];
    # Several modules may add to a workflow.
    workflows.on-demand.settings.jobs.test.env.LEVEL = "debug";
  };
  nix.enable = false;
  systemd.services."nixactions@on-demand" = {
    wantedBy = [ "multi-user.target" ];
    onFailure = [ "notify-admin.service" ];
    serviceConfig = {
      TimeoutStopSec = "1min";
      ReadWritePaths = [ "/srv/cache" ];
      ProtectHome = lib.mkForce true;
    };
  };
}
