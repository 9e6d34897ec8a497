# Expressions: in conditions, in the variables of steps, and in a job's outputs.
{ lib, types, ... }:
{
  config,
  names,
  at,
  atStep,
  stepsOf,
  groups,
  needs,
  ...
}:
let
  expression = import ../expression.nix { inherit lib; };
  inherit (config) jobs;

  object = names: { inherit names; };
  simple = names: object (lib.genAttrs names (_: "simple"));
  texts = {
    each = "simple";
  };
  step = object {
    outputs = texts;
    outcome = "simple";
    conclusion = "simple";
  };

  # The contexts that are the same for all jobs of a run.
  ofRun = {
    env = texts;
    inputs = simple (lib.attrNames config.inputs);
    nixactions = simple [
      "run"
      "workflow"
      "job"
      "attempt"
      "event"
      "ref"
      "sha"
      "repository"
      "actor"
      "workspace"
    ];
  };

  # The keys of all values of each matrix: combinations of an `include` may have more.
  matrixKeys = lib.mapAttrs (
    _: members: lib.attrNames (lib.foldl' (all: name: all // jobs.${name}.matrix.values) { } members)
  ) groups;

  isHooked = job: (if job.executor == null then config.executor else job.executor) ? planOf;

  ofJob =
    name:
    let
      job = jobs.${name};
      steps = stepsOf name;
      contexts = {
        needs = object (
          lib.genAttrs needs.${name} (
            _:
            object {
              result = "simple";
              outputs = texts;
            }
          )
        );
        matrix = simple (lib.optionals (job.matrix != null) matrixKeys.${job.matrix.group});
      }
      // ofRun;
      # The contexts that a later step sees.
      after =
        before:
        contexts
        // {
          job = simple [ "status" ];
          steps = object (lib.genAttrs (lib.filter (id: id != null) (map (step: step.id) before)) (_: step));
        };
    in
    inCondition (at name) {
      inherit contexts;
      has = function: function != "hashFiles";
    } job.condition
    ++ lib.concatLists (
      lib.imap1 (
        number: step:
        let
          contexts = after (lib.take (number - 1) steps);
        in
        inCondition (atStep name number step) {
          inherit contexts;
          has = _: true;
        } step.condition
        ++ inTexts "${atStep name number step}, env" contexts step.env
        ++ inWorkdir (atStep name number step) contexts step.workdir
        ++ lib.optionals (step.post != null) (
          inTexts "${atStep name number step}, post, env" (after steps) step.post.env
          ++ inWorkdir "${atStep name number step}, post" (after steps) step.post.workdir
        )
      ) steps
    )
    ++ inWorkdir "${at name}, defaults" (after [ ]) job.defaults.workdir
    ++ lib.optionals (job.outputsFrom != null) (
      # A hook runs the steps, and tells no results of single ones.
      inTexts "${at name}, outputsFrom" (
        if isHooked job then lib.removeAttrs (after steps) [ "steps" ] else after steps
      ) job.outputsFrom
    );

  inCondition =
    at: place: condition:
    let
      kind = types.conditionOf condition;
      isWrapped = expression.whole condition != null;
      result = expression.read place kind.expression;
    in
    lib.optionals (kind ? expression) (
      map (fault: "${at}, condition: ${fault}") (
        if result ? error && !isWrapped then
          [ "${result.error}: ${wholeHint condition}" ]
        else
          expression.faultsOf place kind.expression
      )
    )
    ++ lib.optionals (kind ? bash) (hinted at (types.bashHint condition));
  # The hint for a condition that only a call of a status function makes an expression.
  wholeHint =
    condition:
    if lib.hasInfix "\${{" condition then
      "wrap the whole condition in one `\${{ }}`"
    else
      "a status function makes the whole text an expression: bash stands alone, and is asked after an implicit `success()`; a step asks for a file by `hashFiles('x') != ''`";
  hinted = at: hint: lib.optional (hint != null) "${at}, condition: ${hint}";

  inWorkdir =
    at: contexts: workdir:
    lib.optionals (workdir != null) (inTexts at contexts { inherit workdir; });

  inTexts =
    at: contexts: texts:
    let
      place = {
        inherit contexts;
        has =
          function:
          !lib.elem function [
            "success"
            "failure"
            "always"
            "cancelled"
          ];
      };
      ofPart =
        part:
        if part ? error then
          [ part.error ]
        else
          lib.optionals (part ? expression) (expression.faultsOf place part.expression);
    in
    lib.concatLists (
      lib.mapAttrsToList (
        name: text:
        lib.optionals (lib.hasInfix "\${{" text) (
          map (fault: "${at}, `${name}`: ${fault}") (lib.concatMap ofPart (expression.segments text))
        )
      ) texts
    );
in
inWorkdir "defaults" ofRun config.defaults.workdir ++ lib.concatMap ofJob names
