# Warns about expressions in texts where they have no meaning.
{ lib, ... }:
{
  config,
  names,
  at,
  atStep,
  stepsOf,
  ...
}:
let
  expression = import ../expression.nix { inherit lib; };

  ofEnv =
    at: env:
    map (
      name:
      "${at}env: `${name}`: `\${{` stands for itself here: write the expression in the `env` of a step"
    ) (lib.filter (name: expression.isUsedIn env.${name}) (lib.attrNames env));
  ofScript =
    at: step:
    map
      (
        _:
        "${at}: `\${{` means nothing in a script: give it the value by a variable in the `env` of the step"
      )
      (
        lib.filter (script: script != null && expression.isUsedIn script) [
          step.bash
          step.script
        ]
      );
  ofStep =
    name: number: step:
    ofScript (atStep name number step) step
    ++ lib.optionals (step.post != null) (ofScript "${atStep name number step}, post" step.post);
in
ofEnv "" config.env
++ lib.concatMap (
  name:
  ofEnv "${at name}, " config.jobs.${name}.env
  ++ lib.concatLists (lib.imap1 (ofStep name) (stepsOf name))
) names
