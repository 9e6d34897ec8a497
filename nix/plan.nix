# Checked options -> the plan (docs/plan.md). What is as the plan has it by default is left out.
{
  lib,
  types,
  writeScript,
  ...
}:
config:
let
  # Drops what says nothing.
  without = empty: lib.filterAttrs (_: value: value != empty);
  set =
    attributes:
    lib.foldl' (left: empty: without empty left) attributes [
      "inherit"
      [ ]
      { }
    ];
  unlessDefault = default: value: if value == default then "inherit" else value;

  retry =
    value:
    if builtins.isAttrs value then
      {
        maxAttempts = value.max_attempts;
        inherit (value) backoff;
        minTime = value.min_time;
        maxTime = value.max_time;
      }
    else
      value;

  common = level: {
    inherit (level) env envFrom timeout;
    retry = retry level.retry;
  };
  gate = level: {
    condition = unlessDefault "success()" level.condition;
    continueOnError = unlessDefault false level.continueOnError;
  };

  step =
    step:
    set (
      common step
      // gate step
      // {
        name = unlessDefault null step.name;
        workdir = unlessDefault null step.workdir;
        run = [ (program step) ] ++ step.args;
      }
    );
  program =
    step:
    lib.getExe (
      if step.package != null then
        step.package
      else
        writeScript {
          name = if step.name == null then "step" else step.name;
          text = step.bash;
          inherit (step) deps;
        }
    );

  job =
    job:
    set (
      common job
      // gate job
      // {
        executor = (executorOf job).name;
        needs = lib.unique (lib.concatMap (need: groups.${need} or [ need ]) job.needs);
        inputs = map (input: if input.path == "." then input.name else input) job.inputs;
        inherit (job)
          outputs
          properties
          credentials
          credentialsEncrypted
          ;
        matrix = if job.matrix == null then "inherit" else without null job.matrix;
      }
    )
    // {
      steps = map step (job.steps ++ job.actions);
    };
  # The jobs of each matrix.
  groups = lib.groupBy (name: config.jobs.${name}.matrix.group) (lib.filter (name: config.jobs.${name}.matrix != null) (lib.attrNames config.jobs));

  executorOf = job: if job.executor == null then config.executor else job.executor;
  executors = lib.listToAttrs (map (job: lib.nameValuePair (executorOf job).name (executorOf job).plan) (lib.attrValues config.jobs));

  input = input: without null (set input);
in
set (
  common config
  // {
    inherit (config) passEnv;
    inputs = lib.mapAttrs (_: input) config.inputs;
    maxParallel = unlessDefault null config.maxParallel;
    concurrency = unlessDefault null config.concurrency;
    inherit executors;
  }
)
// {
  version = 1;
  inherit (config) name;
  jobs = lib.mapAttrs (_: job) config.jobs;
}
