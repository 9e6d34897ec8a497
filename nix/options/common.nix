# The options that workflows, jobs and steps share.
{ lib, types }:
{
  env = lib.mkOption {
    type = types.variables;
    default = { };
    example = {
      RUST_LOG = "debug";
    };
    description = ''
      Variables of the processes. The variables of a step are stronger than those of its job, and
      these are stronger than those of the workflow. They are in the plan and in the store, where
      everybody can read them. Use `envFrom` for secrets.
    '';
  };
  envFrom = lib.mkOption {
    type = types.listOf types.command;
    default = [ ];
    example = lib.literalExpression ''[ (envProviders.file { path = "/etc/ci/secrets.env"; }) ]'';
    description = ''
      Programs that print `export NAME="value"` lines. They run in this order before the first step.
      Their variables are weaker than the `env` beside them. Their values are secrets, so they are
      masked in all output.
    '';
  };
  retry = lib.mkOption {
    type = types.inherited (types.record "retry" (import ./retry.nix { inherit lib types; }));
    default = types.fromAbove;
    defaultText = lib.literalMD "the value of the level above; none for a workflow";
    example = {
      max_attempts = 3;
      backoff = "linear";
      min_time = "2s";
    };
    description = ''
      How often to try again after a failure. The innermost `retry` counts. `null` switches off an
      inherited one.
    '';
  };
  timeout = lib.mkOption {
    type = types.inherited types.duration;
    default = types.fromAbove;
    defaultText = lib.literalMD "none; 6 hours for a job";
    example = "30m";
    description = ''
      The time limit of the whole run, of a job with all its attempts, or of one attempt of a step.
      When a run or a job exceeds its limit, it is cancelled. `null` removes the limit of a job.
    '';
  };
  condition = lib.mkOption {
    type = types.condition;
    default = "success()";
    example = "always()";
    description = ''
      When the job or step runs: `success()`, `failure()`, `always()`, `cancelled()`, an expression
      (plan.md#expressions), or a bash script. A script is asked only after success. Its exit status
      0 runs the job or step.
    '';
  };
  continueOnError = lib.mkOption {
    type = lib.types.bool;
    default = false;
    example = true;
    description = "Whether a failure counts as success for the jobs and steps that follow.";
  };
  defaults = lib.mkOption {
    type = types.record "defaults" (import ./defaults.nix { inherit lib types; });
    default = { };
    example = {
      shell = "sh";
    };
    description = ''
      The shell and the directory of steps that name none. Those of a job are stronger than those of
      the workflow. As on GitHub, they do not reach actions.
    '';
  };
  properties = lib.mkOption {
    type = lib.types.attrsOf types.variable;
    default = { };
    example = {
      MemoryMax = "4G";
    };
    description = ''
      Properties of the units of jobs (systemd.exec(5), systemd.resource-control(5)). properties.md
      lists the allowed ones. Those of a job are stronger than those of its executor, and these are
      stronger than those of the workflow.
    '';
  };
  credentials = lib.mkOption {
    type = types.attrsOf types.credentialName types.secretPath;
    default = { };
    example = {
      token = "/etc/ci/token";
    };
    description = ''
      Files of the host that jobs find in `$CREDENTIALS_DIRECTORY`, by name. Each job gets those of
      the workflow and its own.
    '';
  };
  credentialsEncrypted = lib.mkOption {
    type = types.attrsOf types.credentialName types.credentialPath;
    default = { };
    example = {
      token = "/etc/credstore.encrypted/token";
    };
    description = "As `credentials`, but for files that systemd-creds(1) has encrypted.";
  };
}
