# An action: the options of a step, and a derivation of what it runs. In a workflow they are checked as those of any step, with the
# job's name in the errors; the derivation, which checks them by itself, is built without one.
{
  lib,
  types,
  program,
  ...
}:
arguments:
if !builtins.isAttrs arguments then
  throw "mkAction: expects a set, as in `mkAction { name = \"test\"; bash = \"make check\"; }`, got a ${builtins.typeOf arguments}"
else
  let
    name = if builtins.isString (arguments.name or null) then arguments.name else "unnamed";
    step = types.evaluate types.step [
      "actions"
      name
    ] arguments;
  in
  lib.lazyDerivation {
    derivation = program "action `${name}`" step;
    passthru.action = arguments;
  }
