# What `mkMatrixJobs` takes.
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
      description = "What its jobs' names begin with, and what `needs` on all of them is written with.";
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
      description = "The values of each key; there is a job for each combination. Its steps see them as `MATRIX_<KEY>`.";
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
        Adds keys to the combinations whose values it does not change, or else a combination, as
        [on GitHub](https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations).
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
      description = "Leaves out the combinations that have all these values. It comes before `include`.";
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
