# Time limits of a step, a job, and the whole run.
#
# Look at: A step that hangs gets SIGINT and may clean up. The reason is `timeout`. A step's timeout
# fails that step, and `continueOnError` lets the next step run. A job's timeout ends the job,
# except for its `always()` steps.
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
