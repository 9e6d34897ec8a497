# A file or directory of the host in a container.
{ lib, types }:
{
  options = {
    source = lib.mkOption {
      type = types.hostPath;
      example = "/srv/cache";
      description = "The path on the host.";
    };
    target = lib.mkOption {
      type = lib.types.nullOr types.containerPath;
      default = null;
      example = "/cache";
      description = "The path in the container. The default is `source`.";
    };
    readOnly = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether the jobs cannot write there.";
    };
  };
}
