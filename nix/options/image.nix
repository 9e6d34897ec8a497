# The image of a container.
{ lib, types }:
{
  options = {
    oci = lib.mkOption {
      type = types.imageSource;
      example = "docker://docker.io/library/alpine:3";
      description = ''
        An OCI archive, an OCI layout, a docker-archive, or a reference to a registry.
      '';
    };
    digest = lib.mkOption {
      type = lib.types.nullOr types.digest;
      default = null;
      example = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
      description = "The digest that the image's manifest must have.";
    };
  };
}
