# The names of NixActions' bash compiler, for users who come from it. Names with the same meaning
# here work, with a warning that shows today's name. For the others there is a hint.
# docs/coming-from-bash-nixactions.md documents them, and tests/upstream.rs checks that.
{ lib }:
rec {
  # Options by their owner: older name -> today's name.
  renamed = {
    job = {
      "if" = "condition";
      continue-on-error = "continueOnError";
      envProviders = "envFrom";
    };
    step = {
      "if" = "condition";
      continue-on-error = "continueOnError";
    };
    matrix.jobTemplate = "job";
  };

  # Options that do not affect a run: the replacement.
  ignored.workflow.logging = "how a run is shown is chosen when it is run, by `nixactions run --output text|structured|json` or NIXACTIONS_LOG_FORMAT";

  # Variables of scripts: today's names.
  variables = {
    JOB_DIR = "NIXACTIONS_WORKSPACE";
    WORKFLOW_ID = "NIXACTIONS_RUN";
    WORKFLOW_NAME = "NIXACTIONS_WORKFLOW";
  };

  # Words of scripts without a counterpart: the replacement.
  missing = {
    NIXACTIONS_ARTIFACTS_DIR = "jobs share no directory: name what a job hands on in its `outputs`, and take it in by the `inputs` of another; hooks of an executor share `$NIXACTIONS_EXECUTOR_DIRECTORY`";
    _log_job = "print to standard output: each line is in the journal with its run, job and step";
    _log_workflow = "print to standard output: each line is in the journal with its run, job and step";
    retry_command = "set the step's `retry`, as in `retry.max_attempts = 3;`";
    restore_local_artifact = "name the artifact in the job's `inputs`";
    run_with_timeout = "set the step's `timeout`, as in `timeout = \"30s\";`";
    save_local_artifact = "name the artifact in the job's `outputs`";
  };

  # Other parts of the library: the replacement.
  library = lib.mapAttrs (name: instead: throw "nixactions.${name} does not exist: ${instead}") {
    logging = "each line of a job is in the journal, with its run, job and step as fields";
    platform = "its functions are those of `nixactions` itself, as in `nixactions.mkWorkflow`";
    retry = "`retry` is an option of workflows, jobs and steps";
  };
  executors =
    lib.mapAttrs
      (
        name: instead:
        let
          refuse = throw "executors.${name} does not exist: ${instead}";
        in
        {
          _type = refuse;
          __functor = _: _: refuse;
        }
      )
      {
        k8s = executorsElsewhere;
        kubernetes = executorsElsewhere;
        nomad = executorsElsewhere;
        ssh = executorsElsewhere;
      };
  executorsElsewhere = "jobs run on this machine; a hook executor, `mkExecutor`, may take them to another";

  # Returns whether a script contains a word, between two expressions.
  has =
    before: word: after: script:
    lib.hasInfix word script && lib.length (builtins.split "${before}${word}${after}" script) > 1;
  start = "(^|[^A-Za-z0-9_])";
  end = "([^A-Za-z0-9_]|$)";

  # A place where a command begins, and what may follow its name.
  commandStart = "(^|[;&|({`\n]|(^|[ \t\n;(])(then|do|else|if|while|until|time|exec) |! )[ \t]*";
  commandEnd = "([ \t\n;&|)`]|$)";

  # Returns a script that sets the older variables, with a warning for each. Variables and functions
  # that the script defines itself are left alone. A function may come from a file that it reads,
  # and a line with its name may be the text of a heredoc.
  adapt =
    name: script:
    let
      isForeign =
        word: !has start word "(=| *[(] *[)])" script && !has "${start}function[ \t]+" word end script;
      mayDefine =
        lib.hasInfix "<<" script || has "${commandStart}(source|[.])" " " "[ \t]*[^ \t\n]" script;
      isUsed =
        word:
        if lib.toUpper word == word then
          has "[$][{]?" word end script
        else
          !mayDefine && has commandStart word commandEnd script;
      gone = lib.filter (word: isUsed word && isForeign word) (lib.attrNames missing);
      old = lib.filter (variable: has "[$][{]?" variable end script && isForeign variable) (
        lib.attrNames variables
      );
      warned = lib.foldl' (
        script: variable:
        lib.warn "script `${name}`: `\$${variable}` is a name of NixActions' bash compiler: write `\$${variables.${variable}}`" script
      ) script old;
      word = lib.head gone;
    in
    if gone != [ ] then
      throw "script `${name}`: `${word}` of NixActions' bash compiler does not exist: ${missing.${word}}"
    else
      lib.concatMapStrings (variable: ''
        export ${variable}="''${${variable}-''${${variables.${variable}}-}}"
      '') old
      + warned;
}
