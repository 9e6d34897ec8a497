# Cleaning up after a step, other shells than bash, and the defaults of a workflow and a job.
#
# Look at: The step `stop` runs last, although it belongs to the first step, and it also runs after
# a failure: `--input broken=true`. `nixactions show` lists it after all other steps.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "cleanup";
  inputs.broken = {
    type = "boolean";
    default = false;
    description = "Whether the tests fail";
  };
  # Scripts that need nothing of bash.
  defaults.shell = "sh";
  jobs.test = {
    defaults.workdir = "server";
    steps = [
      {
        name = "make";
        bash = "mkdir server";
        workdir = ".";
      }
      {
        name = "start";
        bash = ''
          sleep 3600 > log 2>&1 &
          echo $! > pid
        '';
        post = {
          name = "stop";
          bash = ''
            kill "$(cat pid)"
            echo "stopped, the job was a $STEPS_TESTS_OUTCOME"
          '';
        };
      }
      {
        id = "tests";
        name = "tests";
        bash = ''
          kill -0 "$(cat pid)"
          [ "$INPUT_BROKEN" = false ]
        '';
      }
      {
        name = "report";
        # Any program that is given a file. `{0}` stands for the script.
        shell = [
          pkgs.gnused
          "-n"
          "-f"
          "{0}"
          "/etc/os-release"
        ];
        script = "s/^ID=/tested on /p";
        workdir = "\${{ nixactions.workspace }}";
      }
    ];
  };
}
