# Trying again: a step of its own accord, or a whole job in a fresh workspace.
#
# Look at: `attempts` in the record (`nixactions show retry-1 --json`). `answers` asks a service
# that takes a while to come up, until it answers. `fresh` fails once, and its second attempt finds
# nothing of the first; that it is tried again the workflow says, of all jobs. `once` is not.
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
        # It goes on in the background, until its job has ended.
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
