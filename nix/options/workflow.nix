# A workflow: jobs, and what holds for all of them.
{
  lib,
  types,
  executors,
}:
let
  common = import ./common.nix { inherit lib types; };
in
{
  options = {
    inherit (common)
      env
      envFrom
      retry
      timeout
      ;
    name = lib.mkOption {
      type = types.name;
      example = "ci";
      description = "What its runs, their units and its command are called.";
    };
    jobs = lib.mkOption {
      type = types.attrsOf types.name (types.record "job" (import ./job.nix { inherit lib types; }));
      default = { };
      example = lib.literalExpression ''{ test.steps = [ { bash = "cargo test"; } ]; }'';
      description = "The jobs by name. Each starts when its `needs` are finished, all others at once.";
    };
    executor = lib.mkOption {
      type = types.executor;
      default = executors.local { };
      defaultText = lib.literalExpression "executors.local { }";
      example = lib.literalExpression ''executors.systemd { name = "big"; properties.MemoryMax = "8G"; }'';
      description = "Where jobs run that have no executor of their own.";
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
      description = "Values that a run may be given by `--input NAME=VALUE`; steps find them as `INPUT_<NAME>`.";
    };
    passEnv = lib.mkOption {
      type = types.listOf types.variableName;
      default = [ ];
      example = [ "API_TOKEN" ];
      description = "Variables that are taken over from the environment of whoever starts a run.";
    };
    maxParallel = lib.mkOption {
      type = lib.types.nullOr types.count;
      default = null;
      example = 4;
      description = "How many jobs run at once; as many as there are CPUs by default.";
    };
    concurrency = lib.mkOption {
      type = lib.types.nullOr (
        types.record "concurrency" (import ./concurrency.nix { inherit lib types; })
      );
      default = null;
      example = {
        group = "deploy";
      };
      description = "Of the runs of one group, one at a time goes on; of those that wait, the newest is kept.";
    };
    extensions = lib.mkOption {
      type = types.listOf types.function;
      default = [ ];
      example = lib.literalExpression ''[ (workflow: workflow // { env = workflow.env or { } // { CI_HOST = "builder"; }; }) ]'';
      description = ''
        Functions from a workflow, as `mkWorkflow` was given it, to another. The first is applied first. The place for layers of
        your own: presets, wrappers, house rules.
      '';
    };
  };
}
