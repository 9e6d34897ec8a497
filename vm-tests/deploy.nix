# A workflow that switches the machine that it runs on to another configuration.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-deploy";

  nodes.machine =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;

        workflows = {
          deploy.settings.jobs = {
            # Switching needs the whole host, so this job has no sandbox.
            switch = {
              executor = config.lib.nixactions.executors.systemd { sandbox = "none"; };
              properties.User = "root";
              steps = [
                # `nixos-rebuild` calls this program of the system that it has built. A switch to
                # another systemd re-executes PID 1.
                { bash = "/run/booted-system/specialisation/next/bin/switch-to-configuration switch"; }
                { bash = "systemctl daemon-reexec"; }
                { bash = "echo the job goes on after the switch"; }
              ];
            };
            report = {
              needs = [ "switch" ];
              steps = [ { bash = "echo deployed"; } ];
            };
          };
          long.settings.jobs.wait.steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
        };
      };

      system.switch.enable = true;
      specialisation.next.configuration.services.nixactions = {
        # The next release of nixactions: the same programs at another path.
        package = pkgs.runCommand "nixactions-next" { meta.mainProgram = "nixactions"; } ''
          cp --recursive --no-preserve=mode ${config.services.nixactions.package} "$out"
          chmod --recursive +x "$out/bin"
        '';
        workflows = {
          long = lib.mkForce { settings.jobs.other.steps = [ { bash = "true"; } ]; };
          deploy = lib.mkForce { settings.jobs.other.steps = [ { bash = "echo the next deploy"; } ]; };
          added.settings.jobs.a.steps = [ { bash = "true"; } ];
          later.settings.jobs.wait.steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
        };
      };
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./deploy.py;
}
