# One job, two steps: checks for any git repository.
#
# Look at: The record has the lines and the time of each step (`nixactions show simple-1`). Leave a
# conflict marker in a file and run it again: the first step fails, the second does not run, and the
# exit status is 1.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "simple";
  jobs.check.steps = [
    {
      name = "no conflict markers";
      bash = ''
        if git grep --line-number --extended-regexp '^(<{7}|>{7}) '; then
          echo "::error::a merge is not finished"
          exit 1
        fi
      '';
      deps = [ pkgs.git ];
    }
    {
      name = "size";
      bash = ''echo "$(git ls-files | wc -l) files, $(git rev-list --count HEAD) commits"'';
      deps = [ pkgs.git ];
    }
  ];
}
