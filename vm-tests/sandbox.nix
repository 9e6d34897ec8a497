# A hostile job in the default sandbox. It tries to reach the host and its neighbours.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-sandbox";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      workflows.hostile.settings = {
        maxParallel = 4;
        jobs = {
          neighbour.steps = [ { bash = "echo private > private; until [ -e go ]; do sleep 0.1; done"; } ];
          thief.steps = [
            {
              bash = ''
                # Runs an attack. Prints whether it was held, and by what message.
                try() {
                  local name=$1
                  shift
                  if said=$("$@" 2>&1); then echo "ESCAPED: $name: $said"; else echo "held: $name"; fi
                }
                reads() { [ -n "$(cat "$@")" ]; }
                try "a file of root" reads /root/private
                try "a file of a user" reads /home/tester/private
                try "a temporary file of the host" reads /tmp/private
                try "the runs of others" reads /var/lib/nixactions/runs/hostile-1/jobs/neighbour/work/workspace/private
                try "the record of its run" reads /var/lib/nixactions/runs/hostile-1/events.jsonl
                try "the result of its own job" reads /run/nixactions/job/out/result.json
                try "the system bus" test -S /run/dbus/system_bus_socket
                try "the private socket of systemd" test -S /run/systemd/private
                try "processes of others" test -d /proc/1
                try "the memory of its runner" reads "/proc/$PPID/mem"
                try "the environment of its runner" reads "/proc/$PPID/environ"
                try "files of the system" touch /etc/written
                try "programs" touch /usr/bin/written
                try "the store" touch /nix/store/written
                try "kernel settings" eval "echo 1 > /proc/sys/kernel/sysrq"
                try "control groups" eval "echo $$ > /sys/fs/cgroup/cgroup.procs"
                try "disks" eval "ls /dev/vda || ls /dev/sda"
                try "a device node" mknod node c 1 1
                try "its user" eval "cp /usr/bin/env own-env && chown 0 own-env"
              '';
            }
          ];
          # Ends its own runner: a job may harm itself, and its record says so.
          orphan.steps = [ { bash = "kill -KILL $PPID; sleep 5"; } ];
          # Ends every process that it may signal.
          killer.steps = [ { bash = "kill -KILL -1"; } ];
        };
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./sandbox.py;
}
