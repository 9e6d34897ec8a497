# A value that a run is given by `--input`.
{ lib, types }:
{
  options = {
    type = lib.mkOption {
      type = lib.types.enum [
        "string"
        "number"
        "boolean"
        "choice"
      ];
      default = "string";
      example = "choice";
      description = "What may be given.";
    };
    default = lib.mkOption {
      type = lib.types.nullOr (
        lib.types.oneOf [
          lib.types.str
          lib.types.number
          lib.types.bool
        ]
      );
      default = null;
      example = "dev";
      description = "What it is when nothing is given.";
    };
    options = lib.mkOption {
      type = types.listOf lib.types.str;
      default = [ ];
      example = [
        "linux"
        "bsd"
      ];
      description = "What a `choice` is between.";
    };
    required = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether a run without it is refused.";
    };
    description = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "What the build is called";
      description = "What it is for.";
    };
  };
}
