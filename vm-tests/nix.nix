# A sandboxed job that builds with the machine's Nix daemon, and one that may not.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-nix";

  nodes.machine =
    { config, pkgs, ... }:
    let
      build = {
        bash = ''
          nix-build --quiet --option substitute false --expr 'derivation {
            name = "made";
            system = builtins.currentSystem;
            builder = "/bin/sh";
            args = [ "-c" "echo made > $out" ];
          }'
          until [ -e go ]; do sleep 0.1; done
          cat result
        '';
        deps = [ pkgs.nix ];
      };
    in
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;
        executors.builder = config.lib.nixactions.executors.systemd { nix = true; };
        workflows = {
          builds.settings.jobs.wait = {
            executor = "builder";
            steps = [ build ];
          };
          may-not.settings.jobs.a.steps = [ build ];
        };
      };
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./nix.py;
}
