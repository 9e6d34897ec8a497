# Variables that the engine sets itself, and the inputs of a run, which become variables too.
{ lib, ... }:
{
  config,
  words,
  names,
  at,
  atStep,
  stepsOf,
  needs,
  ...
}:
let
  inherit (config) jobs inputs;
  inherit (words) upper;

  own = lib.genAttrs [
    "NIXACTIONS"
    "GITHUB_ENV"
    "GITHUB_OUTPUT"
    "GITHUB_PATH"
    "GITHUB_STEP_SUMMARY"
    "JOB_ENV"
  ] (_: "the engine sets it itself");
  ofInputs = lib.mapAttrs' (
    name: _: lib.nameValuePair "INPUT_${upper name}" "it belongs to the input `${name}`"
  ) inputs;
  ofMatrices = lib.listToAttrs (
    lib.concatMap (
      job:
      lib.optionals (job.matrix != null) (
        map (key: lib.nameValuePair "MATRIX_${upper key}" "it belongs to the matrix' value `${key}`") (
          lib.attrNames job.matrix.values
        )
      )
    ) (lib.attrValues jobs)
  );
  ids = lib.filter (id: id != null) (lib.concatMap (job: map (step: step.id) (stepsOf job)) names);
  taken = own // ofInputs // ofMatrices;
  isOwn = name: own ? ${name} || lib.hasPrefix "NIXACTIONS_" name;
  reason =
    name:
    taken.${name} or (
      if isOwn name then
        own.NIXACTIONS
      else if
        lib.hasPrefix "NEEDS_" name && lib.any (job: lib.hasPrefix "NEEDS_${upper job}_" name) names
      then
        "it holds the result of a need"
      else if
        lib.hasPrefix "STEPS_" name && lib.any (id: lib.hasPrefix "STEPS_${upper id}_" name) ids
      then
        "it holds the result of a step"
      else
        null
    );
  ofEnv =
    at: env:
    map (name: "${at}env: `${name}`: ${reason name}: choose another name") (
      lib.filter (name: reason name != null) (lib.attrNames env)
    );

  # The jobs that use each executor.
  executorOf = job: if jobs.${job}.executor == null then config.executor else jobs.${job}.executor;
  executors = lib.groupBy (job: (executorOf job).name) names;

  # Variables of the caller that never reach a job.
  isJobs =
    name:
    lib.elem name [
      "PATH"
      "HOME"
      "USER"
      "SHELL"
      "TMPDIR"
    ];

  ofInput =
    name: input:
    let
      fault = text: "input `${name}`, ${text}";
      inherit (input) type default options;
      fits =
        if type == "number" then
          builtins.isInt default || builtins.isFloat default
        else if type == "boolean" then
          builtins.isBool default
        else
          builtins.isString default;
    in
    lib.optional (type == "choice" && options == [ ]) (
      fault "options: a `choice` needs some: list the allowed values"
    )
    ++ lib.optional (type != "choice" && options != [ ]) (
      fault "options: only a `choice` has options: set `type = \"choice\"`"
    )
    ++ map (option: fault "options: `${option}` is listed twice: remove one") (words.repeated options)
    ++ lib.optionals (default != null) (
      lib.optional input.required (fault "required: it has a default: remove one of them")
      ++ lib.optional (!fits) (
        fault "default: it is a ${builtins.typeOf default}, and the type `${type}`: make them the same"
      )
      ++ lib.optional (fits && type == "choice" && options != [ ] && !lib.elem default options) (
        fault "default: `${default}` is not an option: ${words.hint default options}"
      )
    );
  sameVariable = lib.filterAttrs (_: same: lib.length same > 1) (
    lib.groupBy upper (lib.attrNames inputs)
  );
  sameKey =
    name: job:
    map (keys: "${at name}: the matrix' values ${words.quoted keys} are one variable: rename one") (
      lib.filter (keys: lib.length keys > 1) (
        lib.attrValues (
          lib.groupBy upper (lib.optionals (job.matrix != null) (lib.attrNames job.matrix.values))
        )
      )
    );
  # Needs whose results have the same variable. Evaluated only if there are such jobs.
  areAlike = lib.any (same: lib.length same > 1) (lib.attrValues (lib.groupBy upper names));
  sameNeeds =
    name:
    lib.optionals areAlike (
      lib.mapAttrsToList (
        variable: same:
        "${at name}, needs: the results of ${words.quoted same} are one variable, `NEEDS_${variable}_RESULT`: rename one"
      ) (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy upper needs.${name}))
    );
in
ofEnv "" config.env
++ lib.concatLists (
  lib.mapAttrsToList (
    name: same: ofEnv "executor `${name}`, " ((executorOf (lib.head same)).plan.env or { })
  ) executors
)
++ lib.concatMap (
  name:
  ofEnv "${at name}, " jobs.${name}.env
  ++ sameKey name jobs.${name}
  ++ sameNeeds name
  ++ lib.concatLists (
    lib.imap1 (
      number: step:
      ofEnv "${atStep name number step}, " step.env
      ++ lib.optionals (step.post != null) (ofEnv "${atStep name number step}, post, " step.post.env)
    ) (stepsOf name)
  )
) names
++ map (
  name: "passEnv: `${name}`: ${if isJobs name then "a job has its own" else reason name}: remove it"
) (lib.filter (name: isJobs name || isOwn name) config.passEnv)
++ lib.concatLists (lib.mapAttrsToList ofInput inputs)
++ lib.mapAttrsToList (
  variable: same: "inputs: ${words.quoted same} are one variable, `INPUT_${variable}`: rename one"
) sameVariable
