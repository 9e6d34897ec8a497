# The language: what workflows are written with.
#
#   options/            every option, typed and documented; used for workflows and by the NixOS module
#   types.nix           the few types that nixpkgs' module system does not have
#   mk-workflow.nix     options -> check.nix -> plan.nix -> a derivation with the plan and a command that runs it
#   mk-action.nix       a step's script -> a derivation
#   mk-executor.nix     hooks -> an executor; executors.nix has those that come with systemd
#   mk-matrix-jobs.nix  one job and a matrix -> jobs
#   actions/ env-providers/ jobs/   what others would write as well: plain functions over the above
#
# It needs nixpkgs' `lib`, and of `pkgs` what builds a script. `nixactions` is the package whose command runs the plan.
{
  pkgs,
  lib ? pkgs.lib,
  nixactions ? pkgs.nixactions or null,
}:
let
  api = {
    inherit lib pkgs nixactions;
    types = import ./types.nix { inherit lib; };
    writeScript = import ./write-script.nix api;

    mkWorkflow = import ./mk-workflow.nix api;
    mkAction = import ./mk-action.nix api;
    mkExecutor = import ./mk-executor.nix api;
    mkMatrixJobs = import ./mk-matrix-jobs.nix api;

    executors = import ./executors.nix api;
    actions = import ./actions api;
    envProviders = import ./env-providers api;
    jobs = import ./jobs api;

    optionsDocumentation = import ./options-documentation.nix api;
  };
in
{
  inherit (api)
    mkWorkflow
    mkAction
    mkExecutor
    mkMatrixJobs
    executors
    actions
    envProviders
    jobs
    optionsDocumentation
    ;
}
