# An action: the options of a step, and a derivation of its program. A workflow checks these options
# like those of any step, with the job's name in the errors. The derivation checks them by itself
# and is built outside of a workflow.
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
  # As lazy as possible: a workflow uses only `action`.
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
