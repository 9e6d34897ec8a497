# The type of a job's steps.
{ lib, types }:
let
  options = types.record "step" (import ./options/step.nix { inherit lib types; });

  # A step is a set of options, an action (a set as well, see mk-action.nix), or a package.
  definitions =
    { file, value }:
    let
      base = value.package or null;
      of = value: { inherit file value; };
      ofAction = action: of (if builtins.isAttrs action then action // { isAction = true; } else action);
      weak = definition: definition // { value = lib.mapAttrs (_: lib.mkDefault) definition.value; };
    in
    if value ? action then
      [ (ofAction value.action) ]
    else if lib.isDerivation value then
      [ (of { package = value; }) ]
    else if builtins.isAttrs base && base ? action then
      map weak (types.definitions (ofAction base.action)) ++ [ (of (removeAttrs value [ "package" ])) ]
    else
      [ (of value) ];
in
rec {
  step = lib.mkOptionType {
    name = "step";
    description = "step: a set such as `{ bash = \"make\"; }`, an action, or a package";
    descriptionClass = "nonRestrictiveClause";
    check = value: builtins.isAttrs value || lib.isFunction value;
    merge = loc: defs: options.merge loc (lib.concatMap definitions defs);
    inherit (options) getSubOptions;
  };

  # Errors name a step by its name.
  steps = types.listWith {
    element = step;
    nameOf =
      number: value:
      let
        name = value.action.name or value.name or null;
      in
      if builtins.isString name then name else "step ${toString number}";
  };
}
