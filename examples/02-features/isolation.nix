# The sandbox: jobs see nothing of each other and little of the host. Two jobs run side by side and
# look for one another.
#
# Look at: Both jobs have a user, processes, a /tmp and a home of their own. The home of root is
# empty and the system is read-only. `offline` has no network, because its executor says so. Every
# isolating property of systemd.exec(5) can be set like this. `systemctl show` and `systemd-analyze
# security` list the properties of the unit while it runs.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  tenant = other: {
    steps = [
      {
        name = "leave traces";
        bash = ''
          touch "/tmp/trace-of-$NIXACTIONS_JOB" "$HOME/trace-of-$NIXACTIONS_JOB"
          sleep 3 # as long as the other one looks
        '';
      }
      {
        name = "look for the other's";
        bash = ''
          echo "user $(id --user), processes of others: $(find /proc -maxdepth 1 -name '[0-9]*' ! -uid "$(id --user)" | wc -l)"
          # The run's directory has the workspaces and homes of both.
          run=$(realpath "$NIXACTIONS_WORKSPACE/../../../..")
          find /tmp /var/tmp "$run" -name "trace-of-*" 2> /dev/null | tee traces || true
          ! grep "trace-of-${other}" traces || exit 1
        '';
      }
      {
        name = "look at the host";
        bash = ''
          [ -z "$(find /home /root -mindepth 1)" ]
          ! touch /etc/written-by-a-job || exit 1
        '';
      }
    ];
  };
in
nixactions.mkWorkflow {
  name = "isolation";
  maxParallel = 3;
  jobs = {
    left = tenant "right";
    right = tenant "left";

    offline = {
      executor = nixactions.executors.systemd {
        name = "offline";
        copyRepo = false;
        properties.PrivateNetwork = true;
      };
      steps = [
        {
          name = "routes";
          bash = ''
            # Without network there is at most a heading.
            [ "$(wc -l < /proc/net/route)" -le 1 ]
          '';
        }
      ];
    };
  };
}
