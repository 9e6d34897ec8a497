# An input of a run, set by `--input`.
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
      description = "The type of the value.";
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
      description = "The value of a run without this `--input`.";
    };
    options = lib.mkOption {
      type = types.listOf lib.types.str;
      default = [ ];
      example = [
        "linux"
        "bsd"
      ];
      description = "The values that a `choice` allows.";
    };
    required = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether a run without this `--input` is refused.";
    };
    description = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "What the build is called";
      description = "A text that explains the input.";
    };
  };
}
