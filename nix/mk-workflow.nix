# A workflow: checks its options, compiles them to a plan, and makes a derivation with the plan and
# a command that runs it.
api@{
  lib,
  pkgs,
  types,
  executors,
  nixactions,
  ...
}:
let
  type = types.record "workflow" (import ./options/workflow.nix { inherit lib types executors; });
  check = import ./check api;
  compile = import ./plan.nix api;

  expect =
    what: value:
    if builtins.isAttrs value then
      value
    else
      throw "${what}: expected a set, as in `{ name = \"ci\"; jobs = { … }; }`, found a ${types.kindOf value}";

  # Extensions may add further extensions.
  extended =
    workflow:
    let
      extensions = workflow.extensions or [ ];
      apply =
        workflow: extension:
        if lib.isFunction extension then
          expect "what an extension of ${nameOf workflow} returns" (extension workflow)
        else
          throw "${nameOf workflow}, extensions: expected a function from a workflow to a workflow, found a ${builtins.typeOf extension}";
    in
    if extensions == [ ] then
      workflow
    else if !builtins.isList extensions then
      throw "${nameOf workflow}, extensions: expected a list of functions, found a ${types.kindOf extensions}"
    else
      extended (lib.foldl' apply (removeAttrs workflow [ "extensions" ]) extensions);
  nameOf =
    workflow:
    if builtins.isString (workflow.name or null) then
      "workflow `${workflow.name}`"
    else
      "a workflow without a name";

  # The result of `lib.optionalAttrs` for a job whose condition is false.
  withoutEmptyJobs =
    workflow:
    let
      empty = lib.filter (name: workflow.jobs.${name} == { }) (lib.attrNames workflow.jobs);
    in
    if !builtins.isAttrs (workflow.jobs or null) || empty == [ ] then
      workflow
    else
      lib.foldl' (
        workflow: name:
        lib.warn "${nameOf workflow}, job `${name}`: an empty set is left out: write `${name} = lib.mkIf condition { … };`" workflow
      ) (workflow // { jobs = removeAttrs workflow.jobs empty; }) empty;

  mkWorkflow =
    arguments:
    let
      workflow = withoutEmptyJobs (extended arguments);
      config = types.evaluate type [
        "workflows"
        (workflow.name or null)
      ] workflow;
      plan = check workflow config (compile config);
      command = if nixactions == null then "nixactions" else lib.getExe' nixactions "nixactions";
    in
    pkgs.runCommand config.name
      {
        text = builtins.toJSON plan;
        passAsFile = [ "text" ];
        preferLocalBuild = true;
        allowSubstitutes = false;
        meta = {
          mainProgram = config.name;
          description = "Runs the workflow ${config.name}";
        };
        passthru = {
          inherit plan config;
          extend =
            extension: mkWorkflow (arguments // { extensions = arguments.extensions or [ ] ++ [ extension ]; });
        };
      }
      ''
        mkdir -p "$out/bin"
        cp "$textPath" "$out/plan.json"
        cat > "$out/bin/${config.name}" <<END
        #!${pkgs.runtimeShell}
        exec ${command} run "$out" "\$@"
        END
        chmod +x "$out/bin/${config.name}"
      '';
in
arguments: mkWorkflow (expect "mkWorkflow" arguments)
