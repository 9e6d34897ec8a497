# Jobs that take too much: memory, processes, CPU time. The kernel's cgroup controllers end or slow
# them, and the host goes on.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-limits";

  nodes.machine =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    let
      inherit (config.lib.nixactions) executors;
      # Takes memory until something ends it.
      hog = "data=x; while true; do data=$data$data; done";
      # A job that waits for a service, which never becomes ready.
      waiting = shell: files: {
        services.db = files // {
          run = [
            shell
            "-c"
            hog
          ];
          health = {
            run = [
              shell
              "-c"
              "exit 1"
            ];
            interval = 1;
            retries = 1000;
          };
          properties.MemoryMax = "64M";
        };
        steps = [ { bash = "echo unreached"; } ];
      };
      # A child takes too much memory, and its parent goes on.
      child = "(${hog}) || echo it ended";
      # Leaves a core dump, unless a limit forbids it.
      crash = "kill -SEGV $BASHPID";
    in
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;

        executors = {
          box = executors.nspawn { root = "/srv/root"; };
          light = executors.systemd { root = "/srv/root"; };
          one = executors.nspawn {
            root = "/srv/root";
            mode = "shared";
          };
        };
        workflows = {
          # The same in each kind of container, in a job of one attempt and of two.
          contained.settings.jobs =
            lib.mapAttrs
              (executor: _: {
                inherit executor;
                properties.MemoryMax = "64M";
                steps = [ { bash = hog; } ];
              })
              {
                box = null;
                light = null;
                one = null;
              }
            // {
              again = {
                executor = "box";
                properties.MemoryMax = "64M";
                retry = {
                  max_attempts = 2;
                  min_time = 0;
                };
                steps = [ { bash = hog; } ];
              };
              beside = {
                executor = "one";
                needs = [ "one" ];
                condition = "always()";
                steps = [ { bash = "echo the container goes on"; } ];
              };
            };
          memory.settings.jobs = {
            hog = {
              properties.MemoryMax = "64M";
              steps = [ { bash = hog; } ];
            };
            after = {
              needs = [ "hog" ];
              condition = "always()";
              steps = [ { bash = "echo the host goes on"; } ];
            };
          };
          # The same for a service of each kind.
          served.settings.jobs = {
            host = waiting pkgs.runtimeShell { };
            root = waiting "/bin/bash" { root = "/srv/root"; };
            image = waiting "/bin/bash" { image.oci = "/srv/image"; };
            # It shares its directory for temporary files with its job.
            meanwhile = {
              properties.PrivateNetwork = true;
              services.db = {
                run = [
                  pkgs.runtimeShell
                  "-c"
                  "until [ -e /tmp/go ]; do sleep 0.1; done; ${hog}"
                ];
                properties.MemoryMax = "64M";
              };
              steps = [
                { bash = "touch /tmp/go; until [ -e go ]; do sleep 0.1; done"; }
                { bash = "echo the job goes on"; }
              ];
            };
          };
          # systemd lets these go on after a child was killed for want of memory.
          goes-on.settings.jobs = {
            service = {
              properties.PrivateNetwork = true;
              services.db = {
                run = [
                  pkgs.runtimeShell
                  "-c"
                  "${child}; touch /tmp/ended; sleep infinity"
                ];
                properties = {
                  MemoryMax = "64M";
                  OOMPolicy = "continue";
                };
              };
              steps = [ { bash = "until [ -e /tmp/ended ]; do sleep 0.1; done"; } ];
            };
            stopped = {
              properties.MemoryMax = "64M";
              retry.max_attempts = 2;
              steps = [ { bash = "${child}; touch ended; sleep infinity"; } ];
            };
            killed = {
              properties.MemoryMax = "64M";
              retry.max_attempts = 1;
              steps = [
                {
                  bash = child;
                  retry.max_attempts = 2;
                }
                { bash = "kill -KILL $$"; }
              ];
            };
          };
          processes.settings.jobs.bomb = {
            properties.TasksMax = 50;
            steps = [ { bash = "for i in {1..100}; do sleep infinity & done"; } ];
          };
          time.settings.jobs.busy = {
            properties.CPUQuota = "20%";
            timeout = 20;
            steps = [ { bash = "while true; do :; done"; } ];
          };
          cores.settings.jobs = {
            with-secret = {
              envFrom = [
                [
                  pkgs.runtimeShell
                  "-c"
                  "echo export TOKEN=canary"
                ]
              ];
              steps = [ { bash = crash; } ];
            };
            without.steps = [ { bash = crash; } ];
          };
        };
      };
      systemd.coredump.enable = true;
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./limits.py;
}
