# Bounds on a step, a job, and the whole run.
#
# Look at: what hangs is told to end, by SIGINT, and may clean up; the reason says `timeout`. A
# step's timeout fails that step, so that `continueOnError` lets the next one run. A job's ends the
# job, but for what it has to do `always()`.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "timeout";
  timeout = "10m";
  jobs = {
    step.steps = [
      {
        name = "hangs";
        timeout = "2s";
        continueOnError = true;
        bash = ''
          trap 'echo "told to end"; exit 1' INT
          tail -f /dev/null
        '';
      }
      {
        name = "goes on";
        bash = ''echo "$NIXACTIONS_STEP"'';
      }
    ];

    job = {
      timeout = "3s";
      continueOnError = true;
      steps = [
        {
          name = "hangs";
          bash = "tail -f /dev/null";
        }
        {
          name = "never";
          bash = "false";
        }
        {
          name = "cleans up";
          condition = "always()";
          bash = ''echo "$NIXACTIONS_STEP"'';
        }
      ];
    };
  };
}
