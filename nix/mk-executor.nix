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

  # The script of a function: what it returns for each job, or each of its artifacts. Functions are
  # given what NixActions' bash compiler gives them.
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
      throw "mkExecutor `${name}`: `executeJob` is missing: it runs a job's steps, and nothing else does"
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
  # By which executors of one name are compared.
  plan = if lib.any lib.isFunction (lib.attrValues hooks) then settings else planOf [ ];
  inherit planOf;
}
