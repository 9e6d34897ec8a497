# A workflow: jobs, and the options for all of them.
{
  lib,
  types,
  executors,
}:
let
  common = import ./common.nix { inherit lib types; };
in
{
  _file = toString ./workflow.nix;
  options = {
    inherit (common)
      defaults
      env
      envFrom
      retry
      timeout
      properties
      credentials
      credentialsEncrypted
      ;
    name = lib.mkOption {
      type = types.name;
      example = "ci";
      description = "The name of the workflow, its command, its runs and their units.";
    };
    jobs = lib.mkOption {
      type = types.attrsOf types.name (types.record "job" (import ./job.nix { inherit lib types; }));
      default = { };
      example = lib.literalExpression ''{ test.steps = [ { bash = "cargo test"; } ]; }'';
      description = ''
        The jobs by name. Each job starts when its `needs` are finished. A job without `needs`
        starts at once.
      '';
    };
    executor = lib.mkOption {
      type = types.executor;
      default = executors.local { };
      defaultText = lib.literalExpression "executors.local { }";
      example = lib.literalExpression ''executors.systemd { name = "big"; properties.MemoryMax = "8G"; }'';
      description = "Where jobs without an executor of their own run.";
    };
    sandbox = lib.mkOption {
      type = lib.types.nullOr types.sandbox;
      default = null;
      defaultText = lib.literalMD "`\"strict\"`";
      example = "relaxed";
      description = ''
        How much of the host a job sees, unless its executor says so (sandbox.md).
        `"none"` does not apply to jobs in a root file system of their own.
      '';
    };
    inputs = lib.mkOption {
      type = types.attrsOf types.name (types.record "input" (import ./input.nix { inherit lib types; }));
      default = { };
      example = {
        release = {
          default = "dev";
          description = "What the build is called";
        };
      };
      description = ''
        Values that `--input NAME=VALUE` sets for a run. Steps see them as `INPUT_<NAME>`.
      '';
    };
    passEnv = lib.mkOption {
      type = types.listOf types.variableName;
      default = [ ];
      example = [ "API_TOKEN" ];
      description = "Variables that a run takes from the environment of the user who starts it.";
    };
    maxParallel = lib.mkOption {
      type = lib.types.nullOr types.count;
      default = null;
      example = 4;
      description = "How many jobs run at once. The default is the number of CPUs.";
    };
    concurrency = lib.mkOption {
      type = lib.types.nullOr (
        types.record "concurrency" (import ./concurrency.nix { inherit lib types; })
      );
      default = null;
      example = {
        group = "deploy";
      };
      description = "Runs of one group go on one at a time. Only the newest waiting run is kept.";
    };
    extensions = lib.mkOption {
      type = types.listOf types.function;
      default = [ ];
      example = lib.literalExpression ''[ (workflow: workflow // { env = workflow.env or { } // { CI_HOST = "builder"; }; }) ]'';
      description = ''
        Functions that change the whole workflow. Each takes the argument of `mkWorkflow` and
        returns another. The first function is applied first. Use them for presets, wrappers and
        house rules.
      '';
    };
  };
}
