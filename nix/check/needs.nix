# The needs of jobs.
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

  ofJob =
    name:
    let
      written = jobs.${name}.needs;
      others = lib.filter (other: other != name) names ++ lib.attrNames groups;
    in
    lib.concatMap (
      need:
      if need == name then
        [ "${at name}, needs: the job cannot need itself: remove it" ]
      else if lib.elem name (groups.${need} or [ ]) then
        [ "${at name}, needs: `${need}` is the matrix of the job itself: remove it" ]
      else
        lib.optional (!jobs ? ${need} && !groups ? ${need})
          "${at name}, needs: there is no job `${need}`: ${
            words.hintOr "`${name}` is the only one: remove it" need others
          }"
    ) written
    ++ map (need: "${at name}, needs: `${need}` is listed twice: remove one") (words.repeated written);

  # Removes jobs whose needs were removed, layer by layer (Kahn's algorithm). The remaining jobs are
  # on a circle or behind one.
  start = {
    counts = lib.mapAttrs (_: lib.length) needs;
    ready = lib.filter (job: needs.${job} == [ ]) names;
    done = 0;
  };
  layer =
    state: _:
    if state.ready == [ ] then
      state
    else
      let
        freed = lib.mapAttrs (job: edges: state.counts.${job} - lib.length edges) (
          lib.groupBy lib.id (lib.concatMap (job: dependents.${job} or [ ]) state.ready)
        );
      in
      builtins.deepSeq freed {
        counts = state.counts // freed;
        ready = lib.filter (job: freed.${job} == 0) (lib.attrNames freed);
        done = state.done + lib.length state.ready;
      };
  end = lib.foldl' layer start names;

  left = lib.filterAttrs (_: count: count > 0) end.counts;
  follow = job: lib.findFirst (need: left ? ${need}) null needs.${job};
  # A walk along the remaining jobs must return to one of them.
  walk = map (entry: entry.key) (
    builtins.genericClosure {
      startSet = [ { key = lib.head (lib.attrNames left); } ];
      operator = entry: [ { key = follow entry.key; } ];
    }
  );
  back = follow (lib.last walk);
  circle = lib.drop (lib.lists.findFirstIndex (job: job == back) 0 walk) walk ++ [ back ];
in
lib.concatMap ofJob names
# A job that needs itself is reported above.
++
  lib.optional (end.done < lib.length names && lib.length circle > 2)
    "${at back}, needs: jobs need each other in a circle: ${lib.concatStringsSep " -> " circle}: remove one of these `needs`"
