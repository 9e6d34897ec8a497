# What makes a job one of a matrix.
{ lib, ... }:
{
  options = {
    group = lib.mkOption {
      type = lib.types.str;
      example = "test";
      description = "The matrix' name.";
    };
    values = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = {
        os = "linux";
      };
      description = "The values of this job.";
    };
    failFast = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = "Whether a failed job cancels the others of the matrix.";
    };
    maxParallel = lib.mkOption {
      type = lib.types.nullOr lib.types.ints.positive;
      default = null;
      example = 2;
      description = "How many jobs of the matrix run at once.";
    };
  };
}
