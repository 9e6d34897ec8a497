# What workflows, jobs and steps have alike.
{ lib, types }:
{
  env = lib.mkOption {
    type = types.variables;
    default = { };
    example = lib.literalExpression ''{ RUST_LOG = "debug"; }'';
    description = ''
      Variables of its processes. A step's are stronger than its job's, and those stronger than the workflow's. They are in the plan and in the
      store, where everybody can read them: secrets come from `envFrom`.
    '';
  };
  envFrom = lib.mkOption {
    type = lib.types.listOf types.command;
    default = [ ];
    example = lib.literalExpression ''[ (envProviders.file { path = "/etc/ci/secrets.env"; }) ]'';
    description = ''
      Programs that print `export NAME="value"` lines, run in order before the first step. Weaker than `env` beside it. Their values are
      secrets: masked in all that is printed.
    '';
  };
  retry = lib.mkOption {
    type = types.inherited (types.record (import ./retry.nix { inherit lib types; }));
    default = "inherit";
    example = lib.literalExpression ''{ max_attempts = 3; backoff = "linear"; min_time = "2s"; }'';
    description = "How often it is tried when it fails. The innermost that is set counts; `null` switches off what is inherited.";
  };
  timeout = lib.mkOption {
    type = types.inherited types.duration;
    default = "inherit";
    example = "30m";
    description = "How long it may take. `null` takes the bound away.";
  };
  condition = lib.mkOption {
    type = lib.types.str;
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
