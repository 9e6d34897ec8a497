# For each of some sets of jobs: whether the language takes them.
workflows:
let
  pkgs = import ./pkgs.nix { };
  nixactions = import ../../nix { inherit pkgs; };
  isTaken =
    jobs:
    let
      workflow = nixactions.mkWorkflow {
        name = "ci";
        jobs = builtins.mapAttrs (_: job: job // { steps = [ { bash = "true"; } ]; }) jobs;
      };
    in
    (builtins.tryEval (builtins.deepSeq workflow.plan null)).success;
in
map isTaken workflows
