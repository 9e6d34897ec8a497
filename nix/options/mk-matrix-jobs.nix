# The arguments of `mkMatrixJobs`.
{ lib, types }:
let
  matrix = (import ./matrix.nix { inherit lib types; }).options;
  value = types.variable // {
    merge = lib.mergeEqualOption;
  };
  combinations = types.listOf (types.attrsOf types.name value);
in
{
  options = {
    inherit (matrix) failFast maxParallel;
    name = lib.mkOption {
      type = types.name;
      example = "test";
      description = ''
        The name of the matrix. The names of its jobs begin with it. In `needs` it stands for all of
        them.
      '';
    };
    matrix = lib.mkOption {
      type = types.attrsOf types.name (types.listOf value);
      default = { };
      example = {
        os = [
          "linux"
          "bsd"
        ];
      };
      description = ''
        The values of each key. Each combination becomes a job, whose steps see the values as
        `MATRIX_<KEY>`.
      '';
    };
    include = lib.mkOption {
      type = combinations;
      default = [ ];
      example = [
        {
          os = "linux";
          experimental = true;
        }
      ];
      description = ''
        Each set adds its keys to all combinations whose values it does not change. If it would
        change every combination, it becomes a combination of its own. The rules are
        [GitHub's](https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations).
      '';
    };
    exclude = lib.mkOption {
      type = combinations;
      default = [ ];
      example = [
        {
          os = "bsd";
          version = 1;
        }
      ];
      description = ''
        Each set removes the combinations that have all its values. `exclude` is applied before
        `include`.
      '';
    };
    job = lib.mkOption {
      type = types.function // {
        description = "function from values to a job";
      };
      example = lib.literalExpression "{ os, ... }: { steps = [ { bash = \"./test \${os}\"; } ]; }";
      description = "A function from the values of a combination to its job.";
    };
  };
}
