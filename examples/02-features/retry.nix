# Trying again: one step, or a whole job in a fresh workspace.
#
# Look at: The record has the `attempts` (`nixactions show retry-1 --json`). `answers` asks a
# service until it answers. `fresh` fails once, and its second attempt finds no files of the first.
# The workflow's `retry` holds for all jobs. `once` switches it off.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "retry";
  retry = {
    max_attempts = 2;
    backoff = "constant";
    min_time = "0.1s";
  };
  jobs = {
    service.steps = [
      {
        name = "start";
        # It goes on in the background until the job has ended.
        bash = "(sleep 1 && echo ready > answer) &";
      }
      {
        name = "answers";
        bash = "cat answer";
        retry = {
          max_attempts = 20;
          backoff = "linear";
          min_time = "0.2s";
          max_time = "1s";
        };
      }
    ];

    fresh.steps = [
      {
        name = "new workspace";
        bash = ''
          [ ! -e leftover ]
          touch leftover
        '';
      }
      {
        name = "works the second time";
        bash = ''[ "$NIXACTIONS_ATTEMPT" = 2 ]'';
      }
    ];

    once = {
      retry = null;
      continueOnError = true;
      steps = [
        {
          name = "fails";
          bash = "cat there-is-no-such-file";
        }
      ];
    };
  };
}
