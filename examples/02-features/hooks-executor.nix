# An executor of your own, made of hooks. It runs each step in new namespaces without network, and
# keeps a report of all jobs.
#
# Look at: `setupWorkspace` and `cleanupWorkspace` run once, around all jobs. In the record, the
# hooks of a job take the place of its steps. Hooks run without a sandbox. Put `ssh`, `docker exec`
# or a machine of your cloud in the place of `unshare`. `executeJob` must also carry out
# `condition`, `env` and the other options of a step; this one ignores them.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  namespaces = nixactions.mkExecutor {
    name = "namespaces";
    deps = [
      pkgs.jq
      pkgs.util-linux
    ];
    setupWorkspace = ''
      mkdir "$NIXACTIONS_EXECUTOR_DIRECTORY/reports"
    '';
    executeJob = ''
      jq --compact-output '.[]' "$NIXACTIONS_STEPS" | while read -r step; do
        name=$(jq --raw-output .name <<< "$step")
        mapfile -t run < <(jq --raw-output '.run[]' <<< "$step")
        started=$SECONDS
        unshare --net --ipc --pid --fork --mount-proc "''${run[@]}" < /dev/null
        echo "$name: $((SECONDS - started)) s" >> "$NIXACTIONS_EXECUTOR_DIRECTORY/reports/$NIXACTIONS_JOB"
      done
    '';
    cleanupWorkspace = ''
      tail -n +1 "$NIXACTIONS_EXECUTOR_DIRECTORY"/reports/*
    '';
  };
in
nixactions.mkWorkflow {
  name = "hooks-executor";
  executor = namespaces;
  jobs = {
    alone.steps = [
      {
        name = "processes";
        bash = ''
          # The step is PID 1.
          [ "$$" = 1 ]
          ls -d /proc/[0-9]*
        '';
      }
      {
        name = "network";
        bash = ''
          # Without network there is at most a heading, and no route.
          [ "$(wc -l < /proc/net/route)" -le 1 ]
        '';
      }
    ];
    pack = {
      outputs.file = "file";
      steps = [
        {
          name = "pack";
          bash = "date > file";
        }
      ];
    };
  };
}
