# Jobs with services: programs that run beside their steps.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-services";

  nodes.machine =
    { config, pkgs, ... }:
    let
      # Answers on a port.
      server = port: answer: {
        run = [
          "${config.systemd.package}/bin/systemd-socket-activate"
          "--listen=127.0.0.1:${toString port}"
          "--accept"
          "--inetd"
          "${pkgs.coreutils}/bin/echo"
          answer
        ];
        ports = [ port ];
      };
      ask = host: port: ''
        exec 3<> /dev/tcp/${host}/${toString port}
        read -r answer <&3
        echo "${host} said $answer"
      '';
      bash = command: {
        run = [
          pkgs.runtimeShell
          "-c"
          command
        ];
      };
    in
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;

        workflows = {
          healthy.settings = {
            maxParallel = 2;
            jobs = {
              # Both have a service on the same port, each in a network of its own.
              one = {
                properties.PrivateNetwork = true;
                services.db = server 5433 "one";
                steps = [ { bash = ask "db" 5433; } ];
              };
              two = {
                properties.PrivateNetwork = true;
                services.db = server 5433 "two";
                steps = [ { bash = ask "127.0.0.1" 5433; } ];
              };
            };
          };
          ends.settings.jobs.job = {
            services.db =
              bash "echo begins; until [ -e /tmp/stop ]; do sleep 0.1; done; echo gives up; exit 4"
              // {
                # It shares its directory for temporary files with its job.
                health.run = [ "${pkgs.coreutils}/bin/true" ];
              };
            properties.PrivateNetwork = true;
            steps = [
              { bash = "touch /tmp/stop; sleep 3"; }
              { bash = "echo the job goes on"; }
            ];
          };
          dies.settings.jobs = {
            job = {
              services.db = bash "echo cannot begin >&2; exit 7" // {
                ports = [ 5434 ];
              };
              steps = [ { bash = "echo unreached"; } ];
            };
            after = {
              needs = [ "job" ];
              condition = "failure()";
              steps = [ { bash = "true"; } ];
            };
          };
          never.settings.jobs.job = {
            services.db = bash "echo begins; sleep infinity" // {
              health = {
                run = [ "${pkgs.coreutils}/bin/false" ];
                interval = 0.1;
                retries = 3;
              };
            };
            steps = [ { bash = "echo unreached"; } ];
          };
          long.settings.jobs.wait = {
            services.db = server 5435 "me";
            steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
          };
        };
      };
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./services.py;
}
