# The sources of variables, and how steps and jobs pass values on.
#
# Look at: The step `use` finds the version that `compute` wrote to `$NIXACTIONS_ENV`. The job
# `announce` finds only the output. The innermost `env` wins, and `--env` is stronger than all of
# them: run it with `--env LEVEL=you`.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "env-sharing";
  env = {
    PROJECT = "example";
    LEVEL = "workflow";
  };
  jobs = {
    version = {
      env.LEVEL = "job";
      steps = [
        {
          name = "compute";
          bash = ''
            version=1.$(git rev-list --count HEAD)
            echo "VERSION=$version" >> "$NIXACTIONS_ENV"    # for later steps of this job
            echo "version=$version" >> "$NIXACTIONS_OUTPUT" # for jobs that need this one
            echo "computed by the $LEVEL"
          '';
          deps = [ pkgs.git ];
        }
        {
          name = "use";
          env.LEVEL = "step";
          bash = ''echo "$PROJECT $VERSION, used by the $LEVEL"'';
        }
      ];
    };
    announce = {
      needs = [ "version" ];
      steps = [
        {
          name = "announce";
          bash = ''
            echo "$PROJECT $NEEDS_VERSION_VERSION, announced by the $LEVEL"
            [ -z "''${VERSION-}" ]
          '';
        }
      ];
    };
  };
}
