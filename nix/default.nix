# The language for workflows.
#
#   options/            every option, typed and documented, for workflows and for the NixOS module
#   types.nix           the types of options (with record.nix and steps.nix)
#   words.nix           the wording of errors
#   mk-workflow.nix     options -> check/ -> plan.nix -> a derivation with the plan and a command
#                       that runs it
#   mk-action.nix       the options of a step -> a derivation of its program (program.nix,
#                       write-script.nix)
#   mk-executor.nix     hooks -> an executor; executors.nix has the ones that come with systemd
#   mk-matrix-jobs.nix  one job and a matrix -> jobs
#   actions/ env-providers/ jobs/   plain functions that return steps, providers and jobs
#   arguments.nix       checks the arguments of these functions
#   bash-compiler.nix   the names of NixActions' bash compiler
#   variables.nix       passes secrets on to later steps; variables.jq has the formats
#
# It needs the `lib` of nixpkgs 24.05 or newer, and the functions of `pkgs` that build a script.
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

  # The packages for Linux, under the name of NixActions' bash compiler.
  linuxPkgs = pkgs;

  # The Markdown of docs/options.md.
  optionsDocumentation = import ./options-documentation.nix api;
}
