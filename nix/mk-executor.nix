# An executor of the user: hooks in bash, each built like an action.
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
  hooks = lib.filterAttrs (_: value: value != null) (
    removeAttrs settings [
      "name"
      "deps"
      "copyRepo"
    ]
  );
  compile =
    jobs: hook: value:
    lib.getExe (
      if lib.isDerivation value then
        value
      else
        writeScript {
          name = "${name}-${hook}";
          text = if lib.isFunction value then textOf jobs hook value else value;
          inherit (settings) deps;
        }
    );

  # The script of a function: its result for each job, or for each of the job's artifacts. The
  # functions get the same arguments as in NixActions' bash compiler.
  textOf =
    jobs: hook: function:
    let
      ofJob = job: {
        "${job.jobName}" = function (
          {
            setupJob = { inherit (job) jobName actionDerivations; };
            executeJob = { inherit (job) jobName actionDerivations env; };
            cleanupJob = { inherit (job) jobName; };
          }
          .${hook}
        );
      };
      ofArtifacts =
        artifacts: job:
        lib.listToAttrs (
          map (
            artifact:
            lib.nameValuePair "${job.jobName} ${artifact.name}" (
              function (artifact // { inherit (job) jobName; })
            )
          ) job.${artifacts}
        );
      branch = pattern: text: "${lib.escapeShellArg pattern})\n${text}\n;;\n";
      choose =
        word: branches:
        "case \"${word}\" in\n${lib.concatStrings (lib.mapAttrsToList branch branches)}*) ;;\nesac";
      merged = of: lib.foldl' (all: job: all // of job) { } jobs;
    in
    if hook == "setupWorkspace" || hook == "cleanupWorkspace" then
      function { actionDerivations = lib.concatMap (job: job.actionDerivations) jobs; }
    else if hook == "saveArtifact" then
      choose "$NIXACTIONS_JOB $NIXACTIONS_ARTIFACT" (merged (ofArtifacts "saved"))
    else if hook == "restoreArtifact" then
      choose "$NIXACTIONS_JOB $NIXACTIONS_ARTIFACT" (merged (ofArtifacts "restored"))
    else
      choose "$NIXACTIONS_JOB" (merged ofJob);

  planOf =
    jobs:
    if settings.executeJob == null then
      throw "mkExecutor `${name}`: `executeJob` is missing: only this hook runs a job's steps"
    else
      {
        type = "hooks";
        inherit (settings) copyRepo;
      }
      // lib.mapAttrs (hook: value: [ (compile jobs hook value) ]) hooks;
in
{
  _type = "executor";
  inherit name;
  # The key that compares executors of the same name.
  plan = if lib.any lib.isFunction (lib.attrValues hooks) then settings else planOf [ ];
  inherit planOf;
}
