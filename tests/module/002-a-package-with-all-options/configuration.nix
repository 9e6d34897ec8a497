# A workflow of a project's own, several calendar events, all options, and arguments with what
# systemd would expand.
{ config, ... }:
{
  services.nixactions = {
    enable = true;
    retention = {
      schedule = "hourly";
      runs = 5;
      maxAge = null;
      maxSize = "512M";
    };
    limits = {
      memoryMax = "16G";
      memoryHigh = "75%";
      cpuQuota = "400%";
      cpuWeight = 20;
      ioWeight = 30;
      tasksMax = "20%";
    };
    maxConcurrentJobs = 4;
    diskReserve = "10G";
    drainTimeout = "1h 30min";
    memoryPressureLimit = 60;
    notify.failure = [ "mail@.service" ];
    workflows.release = {
      notify = {
        failure = [ "page@.service" ];
        recovery = [ "mail@.service" ];
      };
      package = config.lib.nixactions.mkWorkflow {
        name = "publish";
        inputs.price.default = "1";
        jobs.publish.steps = [ { bash = "true"; } ];
      };
      schedule = [
        "Mon..Fri 09:00"
        "Sun 12:00"
      ];
      randomizedDelay = "1h 30min";
      persistent = false;
      source = "/srv/50% done";
      inputs.price = "$5 \"net\"";
      env = {
        CI_LEVEL = 3;
        DRY = true;
      };
      environmentFiles = [ "/etc/ci env" ];
      secretFiles = [ "/run/secrets/ci.env" ];
      onSuccess = [ "celebrate.service" ];
      onFailure = [ "notify-admin@%n.service" ];
      serviceConfig = {
        SuccessExitStatus = 130;
        TimeoutStopSec = "1min";
      };
      arguments = [ "--env=PATH_100%=x" ];
    };
    workflows.off = {
      enable = false;
      schedule = "daily";
    };
  };
}
