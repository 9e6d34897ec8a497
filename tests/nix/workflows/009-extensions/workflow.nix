{ nixactions, lib, ... }:
let
  # A preset: a function from a workflow to another.
  withHost =
    workflow:
    workflow
    // {
      env = workflow.env or { } // {
        CI_HOST = "builder";
      };
    };
  # A wrapper around each job.
  withCleanup =
    workflow:
    workflow
    // {
      jobs = lib.mapAttrs (
        _: job:
        job
        // {
          steps = job.steps ++ [
            {
              name = "clean";
              bash = "make clean";
              condition = "always()";
            }
          ];
        }
      ) workflow.jobs;
    };
  # An extension may bring others.
  house = workflow: workflow // { extensions = [ withHost ]; };
in
nixactions.mkWorkflow {
  name = "extended";
  extensions = [
    house
    withCleanup
  ];
  jobs.test.steps = [ { bash = "make check"; } ];
}
