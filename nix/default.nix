# The language: what workflows are written with.
#
# options/            every option, typed and documented; used for workflows and by the NixOS module
# types.nix           the types of options (record.nix, steps.nix); words.nix is how their errors
# name things
# mk-workflow.nix     options -> check/ -> plan.nix -> a derivation with the plan and a command that
# runs it
# mk-action.nix       a step's options -> a derivation of what it runs (program.nix,
# write-script.nix)
#   mk-executor.nix     hooks -> an executor; executors.nix has those that come with systemd
#   mk-matrix-jobs.nix  one job and a matrix -> jobs
#   actions/ env-providers/ jobs/   what others would write as well: plain functions over the above
#   arguments.nix       how those check what they are given
#   bash-compiler.nix   the names that users of NixActions' bash compiler bring along
#   variables.nix       how those hand on secrets; variables.jq
#
# It needs nixpkgs' `lib` of release 24.05 or newer, and of `pkgs` the functions that build a script.
# `nixactions` is the package whose command runs the plan.
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
    program = import ./program.nix api;

    mkWorkflow = import ./mk-workflow.nix api;
    mkAction = import ./mk-action.nix api;
    mkExecutor = import ./mk-executor.nix api;
    mkMatrixJobs = import ./mk-matrix-jobs.nix api;

    executors = import ./executors.nix api;
    arguments = import ./arguments.nix api;
    variables = import ./variables.nix api;
    actions = import ./actions api;
    envProviders = import ./env-providers api;
    jobs = import ./jobs api;
  };
in
(import ./bash-compiler.nix { inherit lib; }).library
// {
  inherit (api)
    mkWorkflow
    mkAction
    mkExecutor
    mkMatrixJobs
    executors
    actions
    envProviders
    jobs
    ;

  # The packages of Linux, as users of NixActions' bash compiler know them.
  linuxPkgs = pkgs;

  # The Markdown of docs/options.md.
  optionsDocumentation = import ./options-documentation.nix api;
}
