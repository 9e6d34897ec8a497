# Old runs: what the timer removes, and what always stays.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-retention";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      retention.runs = 2;
      workflows = {
        mixed = {
          environmentFiles = [ "/etc/ci/mixed.env" ];
          settings.jobs.a.steps = [ { bash = "exit $STATUS"; } ];
        };
        long.settings.jobs.wait.steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./retention.py;
}
