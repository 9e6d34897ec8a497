# Jobs of a run: their order, what they hand on, what a failure means, and what the journal has.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-jobs";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      workflows = {
        diamond.settings = {
          # A machine with one processor runs one job at a time by default.
          maxParallel = 2;
          jobs = {
            top = {
              outputs.greeting = "greeting";
              steps = [ { bash = "echo hello > greeting; chmod 750 greeting"; } ];
            };
            left = {
              needs = [ "top" ];
              inputs = [ "greeting" ];
              outputs.left = "left";
              steps = [ { bash = "echo left begins; cp --preserve=mode greeting left; sleep 3"; } ];
            };
            right = {
              needs = [ "top" ];
              inputs = [ "greeting" ];
              steps = [ { bash = "[ $(< greeting) = hello ]; sleep 3"; } ];
            };
            bottom = {
              needs = [
                "left"
                "right"
              ];
              inputs = [ "left" ];
              steps = [ { bash = "echo bottom got $(< left) with mode $(stat --format=%a left)"; } ];
            };
          };
        };
        failure.settings.jobs = {
          broken.steps = [
            {
              name = "compile";
              bash = "echo no such file >&2; exit 3";
            }
          ];
          dependent = {
            needs = [ "broken" ];
            steps = [ { bash = "true"; } ];
          };
          report = {
            needs = [ "broken" ];
            condition = "failure()";
            steps = [ { bash = "echo reported"; } ];
          };
          cleanup = {
            needs = [ "dependent" ];
            condition = "always()";
            steps = [ { bash = "echo cleaned up"; } ];
          };
          tolerated = {
            continueOnError = true;
            steps = [ { bash = "false"; } ];
          };
          goes-on = {
            needs = [ "tolerated" ];
            steps = [ { bash = "true"; } ];
          };
        };
        conditions = {
          env.LEVEL = 3;
          settings.jobs = {
            asked = {
              condition = "[ $LEVEL = 3 ]";
              steps = [
                { bash = "true"; }
                {
                  name = "not now";
                  condition = "failure()";
                  bash = "exit 1";
                }
              ];
            };
            unasked = {
              condition = "[ $LEVEL = 4 ]";
              steps = [ { bash = "exit 1"; } ];
            };
          };
        };
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./jobs.py;
}
