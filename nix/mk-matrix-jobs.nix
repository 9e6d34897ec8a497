# One job for each combination of a matrix, by GitHub's rules for `include` and `exclude`
# (https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations).
{
  lib,
  types,
  ...
}:
let
  words = import ./words.nix { inherit lib; };
  type = types.record "matrix" (import ./options/mk-matrix-jobs.nix { inherit lib types; });
  matches =
    some: combination:
    lib.all (key: combination ? ${key} && combination.${key} == some.${key}) (lib.attrNames some);
in
arguments:
let
  settings = types.evaluate type [
    "mkMatrixJobs"
    (arguments.name or null)
  ] arguments;
  inherit (settings)
    name
    matrix
    include
    exclude
    job
    ;
  place = types.placeOf null "name" arguments;
  matrix' = "matrix `${name}`${lib.optionalString (place != null) " (${place})"}";
  fail = text: throw "${matrix'}: ${text}";
  keys = lib.attrNames matrix;

  combinations = lib.optionals (keys != [ ]) (
    lib.filter (combination: !lib.any (some: matches some combination) exclude) (
      lib.cartesianProduct matrix
    )
  );
  # An entry is added to all combinations whose original values it does not change. An entry that
  # fits no combination becomes one.
  add =
    state: entry:
    let
      original = builtins.intersectAttrs matrix entry;
      fits = combination: matches original combination.original;
      extend =
        combination:
        if fits combination then combination // { values = combination.values // entry; } else combination;
    in
    if lib.any fits state.found then
      state // { found = map extend state.found; }
    else
      state // { added = state.added ++ [ entry ]; };
  state = lib.foldl' add {
    found = map (original: {
      inherit original;
      values = original;
    }) combinations;
    added = [ ];
  } include;
  all = map (combination: combination.values) state.found ++ state.added;

  # Job names consist of letters, digits, `_` and `-`.
  plain =
    value:
    lib.concatStrings (
      map (part: if builtins.isList part then "_" else part) (
        builtins.split "[^A-Za-z0-9_-]+" (types.toText value)
      )
    );
  order =
    values:
    lib.filter (key: values ? ${key}) keys ++ lib.filter (key: !matrix ? ${key}) (lib.attrNames values);
  nameOf =
    values: lib.concatStringsSep "-" ([ name ] ++ map (key: plain values.${key}) (order values));
  names = map nameOf all;
  twice = lib.attrNames (
    lib.filterAttrs (_: jobs: lib.length jobs > 1) (lib.groupBy (name: name) names)
  );

  empty = lib.filter (key: matrix.${key} == [ ]) keys;
  # Keys of `exclude` that no combination has.
  unknown = lib.filter (key: !matrix ? ${key}) (lib.concatMap lib.attrNames exclude);

  jobOf =
    values:
    let
      made = job values;
    in
    if !builtins.isAttrs made then
      fail "`job` returns a ${types.kindOf made}: it returns a job, as in `job = { os, ... }: { steps = [ … ]; }`"
    else
      made
      // {
        matrix = {
          group = name;
          inherit values;
          inherit (settings) failFast maxParallel;
        };
      };
in
if empty != [ ] then
  throw "${matrix'}, `${lib.head empty}`: it has no values, so there is no combination: give it some, or remove it"
else if unknown != [ ] then
  throw "${matrix'}, exclude: it has no key `${lib.head unknown}`: ${words.hint (lib.head unknown) keys}"
else if all == [ ] then
  fail "no combination is left: give `matrix` values, or `exclude` fewer"
else if twice != [ ] then
  fail "several combinations would be called ${lib.concatStringsSep ", " twice}: give their values different names"
else
  lib.listToAttrs (
    lib.zipListsWith (jobName: values: lib.nameValuePair jobName (jobOf values)) names all
  )
