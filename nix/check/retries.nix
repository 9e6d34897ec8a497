# Warns about first waits that are longer than the longest one. plan.nix shortens them.
{ lib, types, ... }:
{
  config,
  names,
  at,
  atStep,
  stepsOf,
  ...
}:
let
  ofStep =
    name: number: step:
    retry "${atStep name number step}, " step.retry;
  retry =
    at: retry:
    lib.optional (retry != null && retry != types.fromAbove && retry.max_time < retry.min_time)
      "${at}retry: `min_time` (${toString retry.min_time} s) is longer than `max_time`, so each wait is ${toString retry.max_time} s: make `max_time` longer";
in
retry "" config.retry
++ lib.concatMap (
  name:
  retry "${at name}, " config.jobs.${name}.retry
  ++ lib.concatLists (lib.imap1 (ofStep name) (stepsOf name))
) names
