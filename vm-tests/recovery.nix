# Runs whose supervisor, whose systemd or whose whole machine goes away in their midst.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-recovery";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;
      workflows = {
        long.settings.jobs = {
          early = {
            outputs.kept = "kept";
            steps = [ { bash = "echo kept > kept"; } ];
          };
          wait = {
            needs = [ "early" ];
            steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
          };
          late = {
            needs = [ "wait" ];
            steps = [ { bash = "echo late"; } ];
          };
        };
        missed = {
          schedule = "daily";
          settings.jobs.a.steps = [ { bash = "true"; } ];
        };
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./recovery.py;
}
