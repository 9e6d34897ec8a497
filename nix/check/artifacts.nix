# Artifacts: the jobs that save and restore them, and their paths.
{ lib, ... }:
{
  config,
  words,
  names,
  at,
  groups,
  needs,
  dependents,
  ...
}:
let
  inherit (config) jobs;

  # The jobs that save each artifact.
  producers = lib.mapAttrs (_: map (entry: entry.job)) (
    lib.groupBy (entry: entry.artifact) (
      lib.concatMap (
        job: map (artifact: { inherit job artifact; }) (lib.attrNames jobs.${job}.outputs)
      ) names
    )
  );
  twice = lib.mapAttrsToList (
    artifact: jobs:
    "${at (lib.head jobs)}, output `${artifact}`: ${words.quoted (lib.tail jobs)} ${
      if lib.length jobs == 2 then "saves" else "save"
    } it too: give each artifact a name of its own"
  ) (lib.filterAttrs (_: jobs: lib.length jobs > 1) producers);

  # The ancestors of a job. Evaluated only if an artifact does not come from a direct need.
  descendants = lib.mapAttrs (
    job: _:
    lib.genAttrs (map (entry: entry.key) (
      builtins.genericClosure {
        startSet = map (key: { inherit key; }) (dependents.${job} or [ ]);
        operator = entry: map (key: { inherit key; }) (dependents.${entry.key} or [ ]);
      }
    )) (_: null)
  ) jobs;
  comesFrom = job: producer: lib.elem producer needs.${job} || descendants.${producer} ? ${job};

  # If a need does not exist, the artifact may belong to it.
  needsAreKnown = lib.all (job: lib.all (need: jobs ? ${need} || groups ? ${need}) job.needs) (
    lib.attrValues jobs
  );

  ofJob =
    name:
    lib.concatMap (
      input:
      let
        from = producers.${input.name} or [ ];
      in
      if !needsAreKnown || lib.any (comesFrom name) from then
        [ ]
      else if from == [ ] then
        [
          "${at name}, input `${input.name}`: no job saves it in its `outputs`: ${
            words.hintOr "none saves any" input.name (lib.attrNames producers)
          }"
        ]
      else if from == [ name ] then
        [ "${at name}, input `${input.name}`: the job saves it itself: remove it" ]
      else
        [
          "${at name}, input `${input.name}`: job `${lib.head from}` saves it, which may not have finished: add it to `needs`"
        ]
    ) jobs.${name}.inputs
    ++ lib.optionals (lib.length jobs.${name}.inputs > 1) (places name);

  # An artifact is restored under its saved path, below the input's path.
  places =
    name:
    let
      placeOf =
        input:
        let
          from = producers.${input.name} or [ ];
          saved = if from == [ ] then input.name else jobs.${lib.head from}.outputs.${input.name};
        in
        lib.concatStringsSep "/" (
          lib.filter (part: part != "" && part != ".") (lib.splitString "/" "${input.path}/${saved}")
        );
      same = lib.filterAttrs (_: inputs: lib.length inputs > 1) (lib.groupBy placeOf jobs.${name}.inputs);
    in
    lib.mapAttrsToList (
      place: inputs:
      "${at name}, inputs: ${words.quoted (map (input: input.name) inputs)} would all be restored to `${
        if place == "" then "." else place
      }`: give each a `path` of its own"
    ) same;
in
twice ++ lib.concatMap ofJob names
