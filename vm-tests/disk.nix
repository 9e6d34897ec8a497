# A disk that is full, and a disk on which no run starts.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-disk";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      diskReserve = "24M";
      workflows = {
        fills.settings.jobs = {
          fill.steps = [ { bash = "while head -c 1M /dev/zero >> big; do :; done; exit 1"; } ];
          after = {
            needs = [ "fill" ];
            condition = "always()";
            steps = [ { bash = "true"; } ];
          };
        };
        patient.settings.jobs.a.steps = [ { bash = "true"; } ];
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./disk.py;
}
