# A workflow: its options are checked and compiled to a plan, and both to a derivation with a command that runs it.
api@{
  lib,
  pkgs,
  types,
  executors,
  nixactions,
  ...
}:
let
  mkWorkflow =
    arguments:
    let
      extended = lib.foldl' (workflow: extension: extension workflow) (removeAttrs arguments [ "extensions" ]) (arguments.extensions or [ ]);
      name = if builtins.isString extended.name or null then extended.name else "unnamed";
      inherit (lib.evalModules {
        prefix = [
          "workflows"
          name
        ];
        modules = [ (import ./options/workflow.nix { inherit lib types executors; }) ] ++ lib.concatMap (definition: [ {
          _file = definition.file;
          config = definition.value;
        } ]) (types.definitions { file = "<unknown>"; value = extended; });
      }) config;
      checked = import ./check.nix api config;
      plan = checked (import ./plan.nix api config);
      command = if nixactions == null then "nixactions" else lib.getExe' nixactions "nixactions";
    in
    (pkgs.runCommand name
      {
        plan = builtins.toJSON plan;
        passAsFile = [ "plan" ];
        preferLocalBuild = true;
        allowSubstitutes = false;
        meta = {
          mainProgram = name;
          description = "Runs the workflow ${name}";
        };
      }
      ''
        mkdir -p "$out/bin"
        cp "$planPath" "$out/plan.json"
        cat > "$out/bin/${name}" <<END
        #!${pkgs.runtimeShell}
        exec ${command} run "$out" "\$@"
        END
        chmod +x "$out/bin/${name}"
      ''
    )
    // {
      inherit plan config;
      extend = extension: mkWorkflow (arguments // { extensions = (arguments.extensions or [ ]) ++ [ extension ]; });
    };
in
arguments:
if builtins.isAttrs arguments then
  mkWorkflow arguments
else
  throw "mkWorkflow: expects a set, as in `mkWorkflow { name = \"ci\"; jobs = { … }; }`, got a ${builtins.typeOf arguments}"
