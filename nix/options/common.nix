# What workflows, jobs and steps have alike.
{ lib, types }:
{
  env = lib.mkOption {
    type = types.variables;
    default = { };
    example = {
      RUST_LOG = "debug";
    };
    description = ''
      Variables of its processes. A step's are stronger than its job's, and those stronger than the workflow's. They are in the plan and in the
      store, where everybody can read them: secrets come from `envFrom`.
    '';
  };
  envFrom = lib.mkOption {
    type = types.listOf types.command;
    default = [ ];
    example = lib.literalExpression ''[ (envProviders.file { path = "/etc/ci/secrets.env"; }) ]'';
    description = ''
      Programs that print `export NAME="value"` lines, run in order before the first step. Weaker than `env` beside it. Their values are
      secrets: masked in all that is printed.
    '';
  };
  retry = lib.mkOption {
    type = types.inherited (types.record "retry" (import ./retry.nix { inherit lib types; }));
    default = types.fromAbove;
    defaultText = lib.literalMD "that of the level above; a workflow's is none";
    example = {
      max_attempts = 3;
      backoff = "linear";
      min_time = "2s";
    };
    description = "How often it is tried when it fails. The innermost that is set counts; `null` switches off what is inherited.";
  };
  timeout = lib.mkOption {
    type = types.inherited types.duration;
    default = types.fromAbove;
    defaultText = lib.literalMD "none; 6 hours for a job";
    example = "30m";
    description = ''
      How long it may take: the whole run, a job with all its attempts, or one attempt at a step. A run's and a job's cancel what they
      bound. `null` takes a job's bound away.
    '';
  };
  condition = lib.mkOption {
    type = types.condition;
    default = "success()";
    example = "always()";
    description = ''
      When it runs: `success()`, `failure()`, `always()`, `cancelled()`, or a bash script that is asked after an implicit `success()` and runs it
      by exiting with 0.
    '';
  };
  continueOnError = lib.mkOption {
    type = lib.types.bool;
    default = false;
    example = true;
    description = "Whether its failure counts as success for what comes after it.";
  };
}
