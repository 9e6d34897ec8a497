# Single jobs: steps, credentials, matrices, executors, retries.
{ lib, ... }:
{
  config,
  words,
  names,
  at,
  atStep,
  stepsOf,
  groups,
  ...
}:
let
  inherit (config) jobs;

  ofJob =
    name:
    let
      job = jobs.${name};
      both = lib.attrNames (builtins.intersectAttrs job.credentials job.credentialsEncrypted);
    in
    lib.optional (
      stepsOf name == [ ]
    ) "${at name}: it has no steps: add one, as in `steps = [ { bash = \"make check\"; } ]`"
    ++ lib.optional (
      job.steps != [ ] && job.actions != [ ]
    ) "${at name}: it has `steps` and `actions`, the older name of `steps`: put all into `steps`"
    ++
      lib.optional (both != [ ])
        "${at name}, credentials: ${words.quoted both} in `credentialsEncrypted` too: give each a name of its own"
    ++ lib.optional (
      groups ? ${name}
    ) "${at name}: a matrix has the same name, so `needs` on it could mean both: rename one"
    ++ lib.concatLists (
      lib.mapAttrsToList (service: ofService "${at name}, service `${service}`") job.services
    )
    ++ sameIds name
    ++ lib.concatLists (lib.imap1 (number: step: ofStep (atStep name number step) step) (stepsOf name));

  ofService =
    at: service:
    lib.optional (
      service.root != null && service.image != null
    ) "${at}: both `root` and `image`: take one away"
    ++ lib.optional (
      service.run == null && service.image == null
    ) "${at}: neither `run` nor `image`: give it a program, as in `run = [ \"/bin/server\" ]`"
    ++ lib.optionals (service.health != null) (
      lib.optional (
        service.health.run != null && service.health.notify
      ) "${at}, health: both `run` and `notify`: take one away"
      ++ lib.optional (
        service.health.run == null && !service.health.notify
      ) "${at}, health: neither `run` nor `notify`: give it a command, or take `health` away"
    );

  # Steps are told apart by their ids, also in variables.
  sameIds =
    name:
    let
      ids = map (step: step.id) (lib.filter (step: step.id != null) (stepsOf name));
    in
    map (id: "${at name}, steps: `${id}` is the id of two: give each an id of its own") (
      words.repeated ids
    )
    ++ lib.mapAttrsToList (
      variable: same:
      "${at name}, steps: the outcomes of ${words.quoted same} are one variable, `STEPS_${variable}_OUTCOME`: rename one"
    ) (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy words.upper (lib.unique ids)));

  ofStep =
    at: step: ofWork at step ++ lib.optionals (step.post != null) (ofWork "${at}, post" step.post);

  ofWork =
    at: step:
    let
      isScript = step.bash != null || step.script != null;
    in
    lib.optional (
      !isScript && step.package == null
    ) "${at}: neither `bash` nor `package`: give it a script, or a package to run"
    ++ lib.optional (
      step.bash != null && step.script != null
    ) "${at}: both `bash` and `script`, another name for it: take one away"
    ++ lib.optional (
      isScript && step.package != null
    ) "${at}: both `bash` and `package`: make it two steps"
    ++ lib.optional (
      step.deps != [ ] && !isScript && step.package != null
    ) "${at}: `deps` are for `bash`: a package brings its own"
    ++ lib.optional (
      step.shell != null && !isScript && step.package != null
    ) "${at}: `shell` is for a script: a package runs without one";

  # The settings that all jobs of a matrix must share.
  ofGroup =
    group: members:
    map (setting: "matrix `${group}`: its jobs have different `${setting}`: give all the same") (
      lib.filter
        (
          setting:
          lib.any (member: jobs.${member}.matrix.${setting} != jobs.${lib.head members}.matrix.${setting}) (
            lib.tail members
          )
        )
        [
          "failFast"
          "maxParallel"
        ]
    );

  executors =
    let
      # The jobs that use each executor.
      used = lib.groupBy (job: (executorOf job).name) names;
      executorOf = job: if jobs.${job}.executor == null then config.executor else jobs.${job}.executor;
      # The first job that uses another executor of that name than the first job.
      other =
        same:
        lib.findFirst (job: (executorOf job).plan != (executorOf (lib.head same)).plan) null (
          lib.tail same
        );
    in
    lib.mapAttrsToList (
      name: same:
      "executor `${name}`: that of ${at (lib.head same)} and that of ${at (other same)} have different settings: give one of them another name, as in `name = \"${name}-2\"`"
    ) (lib.filterAttrs (_: same: other same != null) used)
    ++
      lib.optional (used ? default)
        "executor `default`, of ${at (lib.head used.default)}: the engine has one of this name: give it another";
in
lib.concatMap ofJob names ++ lib.concatLists (lib.mapAttrsToList ofGroup groups) ++ executors
