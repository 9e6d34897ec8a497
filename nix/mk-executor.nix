# An executor of the user's own: hooks as bash, each built as actions are.
{
  lib,
  types,
  writeScript,
  ...
}:
let
  type = types.record "executor" (import ./options/executors.nix { inherit lib types; }).hooks;
in
arguments:
let
  settings = types.evaluate type [
    "mkExecutor"
    (arguments.name or null)
  ] arguments;
  inherit (settings) name;
  compile =
    hook: value:
    lib.getExe (
      if lib.isDerivation value then
        value
      else
        writeScript {
          name = "${name}-${hook}";
          text = value;
          inherit (settings) deps;
        }
    );
  hooks = lib.filterAttrs (_: value: value != null) (
    removeAttrs settings [
      "name"
      "deps"
      "copyRepo"
    ]
  );
in
{
  _type = "executor";
  inherit name;
  plan =
    if settings.executeJob == null then
      throw "mkExecutor `${name}`: `executeJob` is missing: it runs a job's steps, and nothing else does"
    else
      {
        type = "hooks";
        inherit (settings) copyRepo;
      }
      // lib.mapAttrs (hook: value: [ (compile hook value) ]) hooks;
}
