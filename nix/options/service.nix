# A service of a job: a program that runs beside its steps.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
  executors = (import ./executors.nix { inherit lib types; }).systemd.options;
in
{
  options = {
    run = lib.mkOption {
      type = lib.types.nullOr types.command;
      default = null;
      example = lib.literalExpression ''[ (lib.getExe' pkgs.redis "redis-server") ]'';
      description = ''
        The program, and its arguments. With an `image`, the default is the image's own command.
      '';
    };
    root = executors.root // {
      description = ''
        The root file system of the service: a derivation, or the path of a directory, a tar archive
        or a disk image. It is instead of `image`. Without both, the program is one of the host.
      '';
    };
    image = executors.image // {
      example = "docker://docker.io/library/memcached:1";
      description = ''
        The image that holds the root file system of the service: an archive, or a reference to a
        registry. It is instead of `root`. A set of the options of an image (options.md#an-image)
        also gives its digest.
      '';
    };
    env = common.env // {
      description = "Variables of the service. It has no others of the workflow and the job.";
    };
    properties = common.properties // {
      description = "Properties of the service's unit. properties.md lists the allowed ones.";
    };
    ports = lib.mkOption {
      type = types.listOf types.port;
      default = [ ];
      example = [ 5432 ];
      description = "The TCP ports on which the service listens, from 1024 on.";
    };
    health = lib.mkOption {
      type = lib.types.nullOr (types.record "health" (import ./health.nix { inherit lib types; }));
      default = null;
      example = lib.literalExpression ''{ run = [ "pg_isready" ]; }'';
      description = ''
        How the service tells that it is ready. By default, it is ready when all of its ports take
        connections, or at once if it has none.
      '';
    };
  };
}
