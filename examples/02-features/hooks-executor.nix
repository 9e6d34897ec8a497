# An executor of your own: how a job is run is up to its hooks. This one runs each step in fresh
# namespaces, without network, and keeps a report of all jobs.
#
# Look at: `setupWorkspace` and `cleanupWorkspace` run once, around all jobs; a job's hooks are its
# steps in the record. Hooks run without a sandbox: what is in theirs is yours to say. Put `ssh`,
# `docker exec` or a machine of your cloud in the place of `unshare`. What a step has beside its
# program (`condition`, `env`, …) is for `executeJob` to heed as well; this one leaves it out.
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
          # PID 1 is this step.
          [ "$$" = 1 ]
          ls -d /proc/[0-9]*
        '';
      }
      {
        name = "network";
        bash = ''
          # A heading at most, and no route below it.
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
