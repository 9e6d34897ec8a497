# Compiles checked options to the plan (docs/plan.md). Leaves out the plan's default values.
{
  lib,
  types,
  program,
  ...
}:
config:
let
  older = import ./bash-compiler.nix { inherit lib; };

  # Empty values.
  absent = [
    types.fromAbove
    [ ]
    { }
  ];
  given = lib.filterAttrs (_: value: !lib.elem value absent);
  unless = default: value: if value == default then types.fromAbove else value;

  retry =
    value:
    if builtins.isAttrs value && value != types.fromAbove then
      {
        maxAttempts = value.max_attempts;
        inherit (value) backoff;
        # The wait of the engine; check/retries.nix warns about it.
        minTime = lib.min value.min_time value.max_time;
        maxTime = value.max_time;
      }
    else
      value;

  common = level: {
    inherit (level) env envFrom timeout;
    retry = retry level.retry;
  };
  gate = level: {
    condition =
      if types.conditionOf level.condition ? bash then
        older.adapt "condition" level.condition
      else
        unless "success()" level.condition;
    continueOnError = unless false level.continueOnError;
  };

  # The step with what `defaults` say. As on GitHub, they do not reach actions.
  completed =
    job: step:
    let
      from =
        field:
        lib.findFirst (value: value != null) null (
          [ step.${field} ]
          ++ lib.optionals (!step.isAction) [
            job.defaults.${field}
            config.defaults.${field}
          ]
        );
    in
    step
    // {
      shell = from "shell";
      workdir = from "workdir";
    };

  step =
    step:
    given (
      common step
      // gate step
      // {
        id = unless null step.id;
        name = unless null (nameOf step);
        workdir = unless null step.workdir;
        run = [ (lib.getExe (program "step" step)) ] ++ step.args;
        post = if step.post == null then types.fromAbove else post step step.post;
      }
    );
  post =
    step: post:
    let
      named = post // {
        name = if post.name == null then "post" else post.name;
        shell = if post.shell == null then step.shell else post.shell;
      };
    in
    given {
      inherit (post) env timeout;
      continueOnError = unless false post.continueOnError;
      name = unless null post.name;
      workdir = unless null post.workdir;
      run = [ (lib.getExe (program "post" named)) ] ++ post.args;
    };

  # The name of a script without one, as in the engine: the beginning of its first line. A path in
  # the store is long, and its beginning says nothing.
  nameOf =
    step:
    let
      script = if step.bash != null then step.bash else step.script;
      lines = lib.splitString "\n" (builtins.substring 0 200 script);
      line = lib.findFirst (line: line != null) null (
        map (builtins.match "[ \t]*([ -~]*[!-~])[ \t]*") lines
      );
      text = lib.concatStrings (
        lib.filter builtins.isString (builtins.split "${builtins.storeDir}/[0-9a-z]{32}-" (lib.head line))
      );
    in
    if step.name != null || script == null || line == null then
      step.name
    else if lib.stringLength text > 40 then
      builtins.substring 0 40 text + "…"
    else
      text;

  job =
    job:
    given (
      common job
      // gate job
      // {
        executor = (executorOf job).name;
        needs = needs job.needs;
        inputs = map (input: if input.path == "." then input.name else input) job.inputs;
        inherit (job) outputs;
        properties =
          # Those of the executor are in the plan's executor.
          removeAttrs config.properties (lib.attrNames ((executorOf job).plan.properties or { }))
          // job.properties;
        # A job's own credential takes the place of one of the same name, encrypted or not.
        credentials =
          removeAttrs config.credentials (lib.attrNames job.credentialsEncrypted) // job.credentials;
        credentialsEncrypted =
          removeAttrs config.credentialsEncrypted (lib.attrNames job.credentials) // job.credentialsEncrypted;
        outputsFrom = unless null job.outputsFrom;
        services = lib.mapAttrs (_: service) job.services;
        matrix = if job.matrix == null then types.fromAbove else matrix job.matrix;
      }
    )
    // {
      steps = map (written: step (completed job written)) (job.steps ++ job.actions);
    };
  service =
    service:
    given {
      inherit (service) env properties ports;
      run = unless null service.run;
      root = if service.root == null then types.fromAbove else "${service.root}";
      image =
        if service.image == null then
          types.fromAbove
        else
          lib.filterAttrs (_: value: value != null) service.image;
      health = if service.health == null then types.fromAbove else health service.health;
    };
  health =
    health:
    given {
      run = unless null health.run;
      notify = unless false health.notify;
      interval = unless null health.interval;
      timeout = unless null health.timeout;
      retries = unless null health.retries;
    };
  matrix = matrix: given (matrix // { maxParallel = unless null matrix.maxParallel; });
  needs =
    written:
    if lib.any (need: groups ? ${need}) written then
      lib.attrNames (lib.groupBy lib.id (lib.concatMap (need: groups.${need} or [ need ]) written))
    else
      written;
  # The jobs of each matrix.
  groups = lib.groupBy (name: config.jobs.${name}.matrix.group) (
    lib.filter (name: config.jobs.${name}.matrix != null) (lib.attrNames config.jobs)
  );

  executorOf = job: if job.executor == null then config.executor else job.executor;
  # A root file system of its own is a sandbox already, and cannot be without one.
  takesSandbox =
    plan:
    plan.type or null == "systemd"
    && config.sandbox != null
    && !(config.sandbox == "none" && (plan ? root || plan ? image));
  executors = lib.mapAttrs (
    _: names:
    let
      executor = executorOf config.jobs.${lib.head names};
    in
    given (
      lib.optionalAttrs (takesSandbox executor.plan) { inherit (config) sandbox; }
      // (if executor ? planOf then executor.planOf (map described names) else executor.plan)
    )
  ) (lib.groupBy (name: (executorOf config.jobs.${name}).name) (lib.attrNames config.jobs));

  # A job in the form that hooks get as functions.
  described =
    name:
    let
      job = config.jobs.${name};
    in
    {
      jobName = name;
      inherit (job) env;
      actionDerivations = map (step: action (completed job step)) (job.steps ++ job.actions);
      saved = lib.mapAttrsToList (name: path: { inherit name path; }) job.outputs;
      restored = job.inputs;
    };
  action =
    step:
    let
      built = program "step" step;
    in
    built
    // {
      passthru = built.passthru or { } // {
        bash = if step.bash != null then step.bash else step.script;
        inherit (step)
          condition
          deps
          env
          workdir
          ;
        name = if step.name == null then built.name else step.name;
        timeout = if step.timeout == types.fromAbove then null else step.timeout;
        retry = if step.retry == types.fromAbove then null else step.retry;
      };
    };

  input =
    input:
    given (
      input
      // {
        default = unless null input.default;
        description = unless null input.description;
        required = unless false input.required;
      }
    );
in
given (
  common config
  // {
    inherit (config) passEnv;
    inputs = lib.mapAttrs (_: input) config.inputs;
    maxParallel = unless null config.maxParallel;
    concurrency = unless null config.concurrency;
  }
)
// {
  version = 1;
  inherit (config) name;
  inherit executors;
  jobs = lib.mapAttrs (_: job) config.jobs;
}
