# What jobs see of each other and of the host: nothing that was not declared. Two run side by side
# and look for one another.
#
# Look at: both have a user, processes, /tmp and a home of their own; root's home is empty, the
# system read-only. `offline` has no network, because its executor says so; any property of
# systemd.exec(5) that isolates can be set like this. All of it is the unit's: see `systemctl show`
# and `systemd-analyze security` while it runs.
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
          # The run's directory is where both have their workspaces and homes.
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
            # A heading at most, and nothing below it.
            [ "$(wc -l < /proc/net/route)" -le 1 ]
          '';
        }
      ];
    };
  };
}
