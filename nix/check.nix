# What types alone cannot say: every fault of a workflow at once, each with its job and step and what to do about it.
# Returns a function that passes its argument on if there is none. Works in time proportional to jobs and edges.
{
  lib,
  types,
  ...
}:
config:
let
  inherit (config) jobs;
  names = lib.attrNames jobs;
  quoted = list: lib.concatMapStringsSep ", " (name: "`${name}`") list;
  unique = list: lib.attrNames (lib.groupBy (element: element) list);

  # The nearest of some names, if one is near.
  hint =
    name: known:
    let
      near = lib.sort (a: b: a.distance < b.distance) (
        map (candidate: {
          inherit candidate;
          distance = lib.strings.levenshtein name candidate;
        }) (lib.filter (lib.strings.levenshteinAtMost 2 name) known)
      );
    in
    if near != [ ] then
      "did you mean `${(lib.head near).candidate}`?"
    else if known == [ ] then
      "there is none"
    else
      "known: ${quoted (lib.take 20 known)}${lib.optionalString (lib.length known > 20) ", …"}";

  # Needs, with those on a matrix being those on each of its jobs.
  groups = lib.groupBy (name: jobs.${name}.matrix.group) (lib.filter (name: jobs.${name}.matrix != null) names);
  known = need: jobs ? ${need} || groups ? ${need};
  needs = lib.mapAttrs (_: job: unique (lib.concatMap (need: groups.${need} or (lib.optional (jobs ? ${need}) need)) job.needs)) jobs;

  ofJob =
    name: job:
    let
      steps = job.steps ++ job.actions;
      at = text: "job `${name}`${text}";
    in
    lib.optional (!types.isName name) (
      at ": that is no name: it is made of letters, digits, `_` and `-`, begins with no digit or `-`, and has at most 100 characters"
    )
    ++ lib.optional (steps == [ ]) (at ": it has no steps: give it one, as in `steps = [ { bash = \"make check\"; } ]`")
    ++ lib.optional (job.steps != [ ] && job.actions != [ ]) (at ": it has `steps` and `actions`, which is their older name: put all into `steps`")
    ++ map (need: at ", needs: no job `${need}`: ${hint need (names ++ lib.attrNames groups)}") (lib.filter (need: !known need) job.needs)
    ++ lib.concatLists (lib.imap1 (number: step: ofStep (at ", step ${if step.name == null then toString number else "`${step.name}`"}") step) steps)
    ++ lib.concatLists (lib.mapAttrsToList (artifact: path: ofOutput (at ", output `${artifact}`") artifact path) job.outputs)
    ++ lib.concatMap (input: ofInput (at ", input `${input.name}`") name input) job.inputs
    ++ ofVariables (at ", env") job.env;

  ofStep =
    at: step:
    lib.optional (step.bash == null && step.package == null) "${at}: neither `bash` nor `package`: give it a script, or a package to run"
    ++ lib.optional (step.bash != null && step.package != null) "${at}: both `bash` and `package`: make it two steps"
    ++ lib.optional (step.workdir != null && escapes step.workdir) "${at}, workdir: `${step.workdir}` is not below the workspace: make it a relative path without `..`"
    ++ ofVariables "${at}, env" step.env;

  ofVariables =
    at: env:
    map (name: "${at}: `${name}` is no name of a variable: it is made of letters, digits and `_`, and begins with no digit") (
      lib.filter (name: builtins.match "[A-Za-z_][A-Za-z0-9_]*" name == null) (lib.attrNames env)
    );

  escapes = path: path == "" || lib.hasPrefix "/" path || lib.elem ".." (lib.splitString "/" path);

  ofOutput =
    at: artifact: path:
    lib.optional (escapes path) "${at}: `${path}` is not below the workspace: make it a relative path without `..`"
    ++ lib.optional (lib.head producers.${artifact} != lib.last producers.${artifact}) "${at}: jobs ${quoted producers.${artifact}} all save it: give each artifact one name";

  producers = lib.mapAttrs (_: map (entry: entry.job)) (
    lib.groupBy (entry: entry.artifact) (
      lib.concatMap (
        job: map (artifact: { inherit job artifact; }) (lib.attrNames jobs.${job}.outputs)
      ) names
    )
  );

  ofInput =
    at: job: input:
    let
      from = producers.${input.name} or [ ];
    in
    if from == [ ] then
      [ "${at}: no job saves it in its `outputs`: ${hint input.name (lib.attrNames producers)}" ]
    else if !lib.any (producer: lib.elem producer needs.${job}) from && !lib.any (producer: ancestors job ? ${producer}) from then
      [ "${at}: job `${lib.head from}` saves it, which need not have finished: add it to `needs`" ]
    else
      lib.optional (escapes input.path) "${at}, path: `${input.path}` is not below the workspace: make it a relative path without `..`";

  ancestors =
    job:
    lib.listToAttrs (
      map (entry: lib.nameValuePair entry.key true) (
        builtins.genericClosure {
          startSet = map (key: { inherit key; }) needs.${job};
          operator = entry: map (key: { inherit key; }) needs.${entry.key};
        }
      )
    );

  # Jobs are taken away once their needs are (Kahn's algorithm, a layer at a time); what stays is on a cycle or behind one.
  dependents = lib.mapAttrs (_: map (edge: edge.job)) (
    lib.groupBy (edge: edge.need) (lib.concatMap (job: map (need: { inherit job need; }) needs.${job}) names)
  );
  remaining =
    (lib.foldl'
      (
        state: _:
        if state.ready == [ ] then
          state
        else
          let
            freed = lib.mapAttrs (job: edges: state.counts.${job} - lib.length edges) (
              lib.groupBy (job: job) (lib.concatMap (job: dependents.${job} or [ ]) state.ready)
            );
            counts = state.counts // freed;
          in
          builtins.deepSeq freed {
            inherit counts;
            ready = lib.filter (job: freed.${job} == 0) (lib.attrNames freed);
            done = state.done + lib.length state.ready;
          }
      )
      {
        counts = lib.mapAttrs (_: lib.length) needs;
        ready = lib.filter (job: needs.${job} == [ ]) names;
        done = 0;
      }
      names
    );
  cycle =
    let
      left = lib.filterAttrs (_: count: count > 0) remaining.counts;
      follow = job: lib.findFirst (need: left ? ${need}) null needs.${job};
      # A walk along needs must come back to where it was.
      walk = map (entry: entry.key) (
        builtins.genericClosure {
          startSet = [ { key = lib.head (lib.attrNames left); } ];
          operator = entry: [ { key = follow entry.key; } ];
        }
      );
      start = follow (lib.last walk);
      loop = lib.drop (lib.lists.findFirstIndex (job: job == start) 0 walk) walk;
    in
    lib.optional (remaining.done < lib.length names) "jobs need each other in a circle: ${lib.concatStringsSep " -> " (loop ++ [ start ])}: take away one of these `needs`";

  executors =
    let
      all = [ config.executor ] ++ lib.filter (executor: executor != null) (map (job: job.executor) (lib.attrValues jobs));
      byName = lib.groupBy (executor: executor.name) all;
      differs = same: lib.any (executor: executor.plan != (lib.head same).plan) (lib.tail same);
    in
    map (name: "executor `${name}`: two different ones have this name: give one of them another `name`") (
      lib.attrNames (lib.filterAttrs (_: differs) byName)
    );

  faults =
    lib.optional (jobs == { }) "it has no jobs: give it one, as in `jobs.test.steps = [ { bash = \"make check\"; } ]`"
    ++ ofVariables "env" config.env
    ++ lib.concatLists (lib.mapAttrsToList ofJob jobs)
    ++ cycle
    ++ executors;

  # Names and forms of what is rather kept secret.
  isSecret =
    name: value:
    (
      builtins.match ".*(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL).*" (lib.toUpper name) != null
      && builtins.match ".*_(FILE|PATH|DIR|NAME|URL)" (lib.toUpper name) == null
      && value != ""
    )
    || builtins.match "(gh[pousr]_|github_pat_|glpat-|xox[abp]-|AKIA|-----BEGIN ).*" value != null;
  secrets =
    at: env:
    map (name: "${at}: `${name}` looks like a secret, and whoever can read the store can read it there: take it from an `envFrom` provider") (
      lib.filter (name: isSecret name env.${name}) (lib.attrNames env)
    );
  warnings =
    secrets "env" config.env
    ++ lib.concatLists (
      lib.mapAttrsToList (
        name: job:
        secrets "job `${name}`, env" job.env
        ++ lib.concatMap (step: secrets "job `${name}`, step `${toString step.name}`, env" step.env) (job.steps ++ job.actions)
        ++ lib.optional (job.actions != [ ]) "job `${name}`: `actions` is the older name of `steps`: rename it"
      ) jobs
    );
  warned = lib.foldl' (passed: text: lib.warn "workflow `${config.name}`, ${text}" passed);
in
passed:
if faults == [ ] then
  warned passed warnings
else
  throw "workflow `${config.name}`${lib.optionalString (lib.length faults > 1) " has ${toString (lib.length faults)} faults"}: ${
    lib.concatStringsSep "\n  " (lib.optional (lib.length faults > 1) "" ++ faults)
  }"
