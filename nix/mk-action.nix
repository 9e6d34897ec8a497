# An action: the options of a step, and a derivation of what it runs. In a workflow they are checked
# as those of any step, with the job's name in the errors; the derivation, which checks them by
# itself, is built without one.
{
  types,
  program,
  ...
}:
arguments:
if !builtins.isAttrs arguments then
  throw "mkAction: expected a set, as in `mkAction { name = \"test\"; bash = \"make check\"; }`, found a ${types.kindOf arguments}"
else
  let
    name = if builtins.isString (arguments.name or null) then arguments.name else "unnamed";
    step = types.evaluate types.step [
      "actions"
      name
    ] arguments;
    built = program "action `${name}`" step;
  in
  # As lazy as can be: a workflow asks for `action` alone.
  {
    type = "derivation";
    action = arguments;
    inherit (built)
      name
      drvPath
      outPath
      outputName
      system
      ;
    meta = built.meta or { };
  }
