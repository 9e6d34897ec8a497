# One job for each combination of a matrix, by GitHub's rules for `include` and `exclude`
# (https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations).
{ lib, types, ... }:
let
  known = [
    "name"
    "matrix"
    "include"
    "exclude"
    "failFast"
    "maxParallel"
    "job"
  ];
  matches = some: combination: lib.all (key: combination ? ${key} && combination.${key} == some.${key}) (lib.attrNames some);
in
{
  name,
  matrix ? { },
  include ? [ ],
  exclude ? [ ],
  failFast ? true,
  maxParallel ? null,
  job,
  ...
}@arguments:
let
  unknown = lib.filter (key: !lib.elem key known) (lib.attrNames arguments);
  fail = text: throw "matrix `${name}`: ${text}";
  keys = lib.attrNames matrix;

  combinations = if keys == [ ] then [ ] else lib.filter (combination: !lib.any (some: matches some combination) exclude) (lib.cartesianProduct matrix);
  # An entry adds to all combinations whose original values it does not change; one that fits nowhere is a combination of its own.
  include' =
    state: entry:
    let
      original = lib.intersectAttrs matrix entry;
      fits = combination: matches original combination.original;
    in
    if lib.any fits state.found then
      state // { found = map (combination: if fits combination then combination // { values = combination.values // entry; } else combination) state.found; }
    else
      state // { added = state.added ++ [ entry ]; };
  state = lib.foldl' include' {
    found = map (original: {
      inherit original;
      values = original;
    }) combinations;
    added = [ ];
  } include;
  all = map (combination: combination.values) state.found ++ state.added;

  # Names of jobs are letters, digits, `_` and `-`.
  plain = value: lib.concatStrings (map (part: if builtins.isList part then "_" else part) (builtins.split "[^A-Za-z0-9_-]+" (types.toText value)));
  order = values: lib.filter (key: values ? ${key}) keys ++ lib.filter (key: !matrix ? ${key}) (lib.attrNames values);
  nameOf = values: lib.concatStringsSep "-" ([ name ] ++ map (key: plain values.${key}) (order values));
  names = map nameOf all;
  twice = lib.attrNames (lib.filterAttrs (_: jobs: lib.length jobs > 1) (lib.groupBy (name: name) names));
in
if unknown != [ ] then
  fail "unknown: ${lib.concatStringsSep ", " unknown} (known: ${lib.concatStringsSep ", " known})"
else if !types.isName name then
  fail "that is no name: it is made of letters, digits, `_` and `-`, and begins with no digit or `-`"
else if lib.any (key: !builtins.isList matrix.${key}) keys then
  fail "the values of each key are a list"
else if !lib.isFunction job then
  fail "`job` is a ${builtins.typeOf job}: it is a function from the values of a combination to a job, as in `job = { os, ... }: { steps = [ … ]; }`"
else if all == [ ] then
  fail "no combination is left"
else if twice != [ ] then
  fail "several combinations would be called ${lib.concatStringsSep ", " twice}: give their values different names"
else
  lib.listToAttrs (
    lib.zipListsWith (
      jobName: values:
      lib.nameValuePair jobName (
        job values
        // {
          matrix = {
            group = name;
            values = lib.mapAttrs (_: types.toText) values;
            inherit failFast maxParallel;
          };
        }
      )
    ) names all
  )
