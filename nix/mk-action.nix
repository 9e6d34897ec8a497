# An action: a step that is a derivation of its own, to be used in many jobs.
{
  lib,
  types,
  writeScript,
  ...
}:
arguments:
let
  position = lib.optionalString (arguments ? name) (toString (builtins.unsafeGetAttrPos "name" arguments).file);
  step =
    (lib.evalModules {
      prefix = [ (if builtins.isString arguments.name or null then "action ${arguments.name}" else "action") ];
      modules = [
        (import ./options/step.nix { inherit lib types; })
        {
          _file = position;
          config = arguments;
        }
      ];
    }).config;
  built =
    if step.package != null then
      step.package
    else if step.bash != null then
      writeScript {
        name = if step.name == null then "step" else step.name;
        text = step.bash;
        inherit (step) deps;
      }
    else
      throw "action${lib.optionalString (step.name != null) " `${step.name}`"}: neither `bash` nor `package`: give it a script, or a package to run";
in
# What the module system has to say of the rest is said where the action is used.
built
// {
  step = removeAttrs arguments [
    "bash"
    "deps"
    "package"
  ];
}
