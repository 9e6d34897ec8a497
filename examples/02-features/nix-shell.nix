# Programs for all later steps of a job: packages of nixpkgs by name. Nix builds them with the
# workflow, and the run fetches nothing.
#
# Look at: `describe` has no `deps` and still finds jq. The other job, `elsewhere`, does not find
# it.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "nix-shell";
  jobs = {
    describe.steps = [
      (nixactions.actions.nixShell [
        "git"
        "jq"
      ])
      {
        name = "describe";
        bash = ''
          git log --max-count 1 --format='{ "commit": "%H", "author": "%an" }' | jq .
          [[ $(command -v jq) == ${builtins.storeDir}/* ]]
        '';
      }
    ];
    elsewhere.steps = [
      {
        name = "look";
        bash = "[[ $(command -v jq) != ${builtins.storeDir}/* ]]";
      }
    ];
  };
}
