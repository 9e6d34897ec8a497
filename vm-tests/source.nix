# A workflow whose source is a repository on another machine.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-source";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;
        workflows =
          let
            source.git.url = "git://server/project";
            settings.jobs.show.steps = [ { bash = "echo it says $(<message)"; } ];
          in
          {
            manual = { inherit source settings; };
            timed = {
              inherit source settings;
              schedule = "*:*:0/2";
            };
          };
      };

      # The script starts the timer. By default, systemd may start its service up to a minute late
      # (systemd.timer(5)).
      systemd.timers."nixactions@timed" = {
        wantedBy = pkgs.lib.mkForce [ ];
        timerConfig.AccuracySec = "100ms";
      };
      environment.systemPackages = [ pkgs.git ];
    };

  nodes.server =
    { pkgs, ... }:
    {
      systemd.services.git-daemon = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = "${pkgs.git}/bin/git daemon --export-all --base-path=/var/lib/git";
          StateDirectory = "git";
        };
      };
      networking.firewall.allowedTCPPorts = [ 9418 ];
      environment.systemPackages = [ pkgs.git ];
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./source.py;
}
