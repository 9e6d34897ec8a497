# The paths at which artifacts are restored: the path that they had, or below `path`.
#
# Look at: Both checks write `report.txt`. At that path, one would replace the other. Below paths of
# their own, both stay, and `collect` puts them into one directory, which is an artifact again.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  report = name: script: {
    outputs."${name}-report" = "report.txt";
    steps = [
      {
        inherit name;
        bash = script;
        deps = [ pkgs.git ];
      }
    ];
  };
in
nixactions.mkWorkflow {
  name = "artifacts-paths";
  jobs = {
    authors = report "authors" "git shortlog --summary --numbered HEAD > report.txt";
    largest = report "largest" "git ls-tree -r --long HEAD | sort --reverse --numeric-sort --key 4 | sed -n 1,5p > report.txt";

    collect = {
      needs = [
        "authors"
        "largest"
      ];
      inputs = [
        {
          name = "authors-report";
          path = "site/authors";
        }
        {
          name = "largest-report";
          path = "site/largest";
        }
      ];
      outputs.site = "site/";
      steps = [
        {
          name = "index";
          workdir = "site";
          bash = ''
            tail -n +1 ./*/report.txt | tee index.txt
          '';
        }
      ];
    };
  };
}
