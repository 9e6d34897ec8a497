# How a service of a job tells that it is ready.
{ lib, types }:
{
  options = {
    run = lib.mkOption {
      type = lib.types.nullOr types.command;
      default = null;
      example = [ "pg_isready" ];
      description = ''
        A command that succeeds when the service is ready. It runs as the service does: with its
        files, user, variables and network. It is instead of `notify`.
      '';
    };
    notify = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether the service says by itself that it is ready (`READY=1`, sd_notify(3)).";
    };
    interval = lib.mkOption {
      type = lib.types.nullOr types.duration;
      default = null;
      example = 0.5;
      description = "The time between two tries. The default is 1 second.";
    };
    timeout = lib.mkOption {
      type = lib.types.nullOr types.duration;
      default = null;
      example = "10s";
      description = ''
        The longest time of one try, 5 seconds by default. With `notify`, the longest time until the
        service is ready, 30 seconds by default.
      '';
    };
    retries = lib.mkOption {
      type = lib.types.nullOr types.count;
      default = null;
      example = 60;
      description = "The most tries. The default is 30.";
    };
  };
}
