# An executor of the user's own: hooks as bash, each built as actions are.
{
  lib,
  types,
  writeScript,
  ...
}:
let
  hooks = [
    "setupWorkspace"
    "cleanupWorkspace"
    "setupJob"
    "executeJob"
    "cleanupJob"
    "saveArtifact"
    "restoreArtifact"
  ];
  known = hooks ++ [
    "name"
    "deps"
    "copyRepo"
  ];
in
{ name, ... }@arguments:
let
  unknown = lib.filter (name: !lib.elem name known) (lib.attrNames arguments);
  compile =
    hook: value:
    if lib.isDerivation value then
      [ (lib.getExe value) ]
    else if builtins.isString value then
      [
        (lib.getExe (writeScript {
          name = "${name}-${hook}";
          text = value;
          deps = arguments.deps or [ ];
        }))
      ]
    else
      throw "mkExecutor `${name}`: ${hook} is a ${builtins.typeOf value}: it is a script, or a derivation with a main program";
in
if unknown != [ ] then
  throw "mkExecutor `${name}`: unknown: ${lib.concatStringsSep ", " unknown} (known: ${lib.concatStringsSep ", " known})"
else if !types.isName name then
  throw "mkExecutor: `${name}` is no name: it is made of letters, digits, `_` and `-`, and begins with no digit or `-`"
else
  {
    _type = "executor";
    inherit name;
    plan = {
      type = "hooks";
      copyRepo = arguments.copyRepo or true;
    }
    // lib.mapAttrs compile (lib.filterAttrs (hook: value: lib.elem hook hooks && value != null) arguments);
  }
