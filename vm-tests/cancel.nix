# Cancelled runs, and jobs that take too long.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-cancel";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      workflows = {
        long.settings.jobs = {
          wait.steps = [
            { bash = "sleep infinity"; }
            {
              condition = "always()";
              bash = "echo the step cleans up";
            }
          ];
          next = {
            needs = [ "wait" ];
            steps = [ { bash = "true"; } ];
          };
          clean = {
            needs = [ "wait" ];
            condition = "always()";
            steps = [ { bash = "echo the job cleans up"; } ];
          };
        };
        # Ignores what a cancellation sends first.
        stubborn.settings.jobs.wait.steps = [
          { bash = "trap : INT TERM; while true; do sleep 0.1 || true; done"; }
        ];
        late.settings.jobs = {
          job = {
            timeout = 1;
            steps = [ { bash = "sleep infinity"; } ];
          };
          step.steps = [
            {
              name = "slow";
              timeout = 1;
              bash = "sleep infinity";
            }
          ];
          after = {
            needs = [ "job" ];
            condition = "failure()";
            steps = [ { bash = "true"; } ];
          };
        };
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./cancel.py;
}
