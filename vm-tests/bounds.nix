# The bounds that all runs of a machine share: on jobs at once, and on the time of a shutdown.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-bounds";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      maxConcurrentJobs = 1;
      drainTimeout = "30s";
      workflows = {
        long.settings.jobs.wait.steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
        other.settings.jobs.wait.steps = [ { bash = "true"; } ];
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./bounds.py;
}
