# House rules, presets and wrappers. An extension is a function from the argument of `mkWorkflow` to
# another such argument.
#
# Look at: The extensions change the jobs. `nixactions graph` draws `report` after all other jobs,
# although the workflow does not name it, and the plan has a time limit for each job. A team can
# share a file of such functions. `(mkWorkflow …).extend` adds an extension to a finished workflow.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  inherit (pkgs) lib;

  # The default for jobs without a value of their own.
  withDefaults =
    defaults: workflow: workflow // { jobs = lib.mapAttrs (_: job: defaults // job) workflow.jobs; };

  # A job at the end that reports the results of the others.
  withReport =
    workflow:
    workflow
    // {
      jobs = workflow.jobs // {
        report = {
          needs = lib.attrNames workflow.jobs;
          condition = "always()";
          steps = [
            {
              name = "summary";
              bash = ''
                jq --raw-output 'to_entries[] | "- \(.key): \(.value.result)"' "$NIXACTIONS_NEEDS" | tee "$NIXACTIONS_SUMMARY"
              '';
              deps = [ pkgs.jq ];
            }
          ];
        };
      };
    };
in
nixactions.mkWorkflow {
  name = "extensions";
  extensions = [
    withReport
    (withDefaults {
      timeout = "5m";
      env.TZ = "UTC";
    })
  ];
  jobs = {
    clock.steps = [
      {
        name = "time zone";
        bash = ''[ "$(date +%Z)" = UTC ]'';
      }
    ];
    local = {
      env.TZ = "XYZ-1";
      steps = [
        {
          name = "time zone";
          bash = ''[ "$(date +%Z)" = XYZ ]'';
        }
      ];
    };
  };
}
