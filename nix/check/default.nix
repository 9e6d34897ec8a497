# Checks that types alone cannot make. Reports every fault of a workflow at once, each with its job
# and step and a remedy. The engine would refuse the same (crates/plan/src/validate/), but later and
# without the line. Returns a function that passes its argument on if there is no fault. Takes time
# proportional to jobs and edges.
#
#   needs.nix       what jobs need: unknown jobs, circles
#   artifacts.nix   who saves what, and who takes it in
#   jobs.nix        jobs and their steps, matrices, executors
#   expressions.nix expressions in conditions and values
#   variables.nix   names that the engine itself sets; inputs of a run
#   secrets.nix     warnings of what looks like a secret
#   retries.nix     warnings of waits that are cut
#   literals.nix    warnings of expressions that stand for themselves
api@{ lib, types, ... }:
# The workflow as the user wrote it, for its lines, and its options.
workflow: config:
let
  inherit (config) jobs;
  names = lib.attrNames jobs;
  placeOf =
    name:
    let
      place =
        if builtins.isAttrs (workflow.jobs or null) then types.placeOf null name workflow.jobs else null;
    in
    lib.optionalString (place != null) " (${place})";

  context = rec {
    inherit config names;
    words = import ../words.nix { inherit lib; };
    # The beginning of an error.
    at = name: "job `${name}`${placeOf name}";
    atStep =
      name: number: step:
      "${at name}, step ${if step.name == null then toString number else "`${step.name}`"}";
    stepsOf = name: jobs.${name}.steps ++ jobs.${name}.actions;
    # The jobs of each matrix.
    groups = lib.groupBy (name: jobs.${name}.matrix.group) (
      lib.filter (name: jobs.${name}.matrix != null) names
    );
    # The existing jobs that each job needs, each once. A need on a matrix stands for all of its
    # jobs.
    needs = lib.mapAttrs (
      _: job:
      lib.attrNames (
        lib.groupBy lib.id (
          lib.concatMap (need: groups.${need} or (lib.optional (jobs ? ${need}) need)) job.needs
        )
      )
    ) jobs;
    # The jobs that need each job.
    dependents = lib.mapAttrs (_: map (edge: edge.job)) (
      lib.groupBy (edge: edge.need) (
        lib.concatMap (job: map (need: { inherit job need; }) needs.${job}) names
      )
    );
  };
  checks = file: import file api context;

  faults =
    lib.optional (
      jobs == { }
    ) "it has no jobs: add one, as in `jobs.test.steps = [ { bash = \"make check\"; } ]`"
    ++ checks ./jobs.nix
    ++ checks ./needs.nix
    ++ checks ./artifacts.nix
    ++ checks ./variables.nix
    ++ checks ./expressions.nix;

  warnings =
    checks ./secrets.nix
    ++ checks ./retries.nix
    ++ checks ./literals.nix
    ++ map (name: "${context.at name}: `actions` is the older name of `steps`: rename it") (
      lib.filter (name: jobs.${name}.actions != [ ]) names
    );
  count = lib.length faults;
in
passed:
if faults == [ ] then
  lib.foldl' (passed: text: lib.warn "workflow `${config.name}`, ${text}" passed) passed warnings
else if count == 1 then
  throw "workflow `${config.name}`, ${lib.head faults}"
else
  throw "workflow `${config.name}` has ${toString count} faults:\n  ${lib.concatStringsSep "\n  " faults}"
