# Programs for all later steps of a job: packages of nixpkgs by name. They are built with the
# workflow; nothing is fetched when it runs.
#
# Look at: `describe` names no `deps`, and finds jq all the same; `elsewhere`, another job, is given
# nothing.
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
