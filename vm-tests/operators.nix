# Users without root who start, watch and cancel runs, and strangers, who may not.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-operators";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      operators = {
        users = [ "alice" ];
        groups = [ "ci" ];
      };
      workflows = {
        quick.settings.jobs.a.steps = [ { bash = "echo said by $NIXACTIONS_ACTOR"; } ];
        long.settings.jobs.wait.steps = [ { bash = "sleep infinity"; } ];
      };
    };

    users = {
      users = {
        alice.isNormalUser = true;
        carol = {
          isNormalUser = true;
          extraGroups = [ "ci" ];
        };
        bob.isNormalUser = true;
      };
      groups.ci = { };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./operators.py;
}
