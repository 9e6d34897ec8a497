# Layers of your own. An extension is a function from a workflow to a workflow, as it was given to
# `mkWorkflow`: house rules, presets, wrappers.
#
# Look at: the jobs have what the extensions say: `nixactions graph` draws `report` after all
# others, which nobody wrote down, and the plan bounds each job. Such a file of functions is what a
# team shares. `(mkWorkflow …).extend` adds one to a workflow that exists.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  inherit (pkgs) lib;

  # What a job does not say itself.
  withDefaults =
    defaults: workflow: workflow // { jobs = lib.mapAttrs (_: job: defaults // job) workflow.jobs; };

  # A job at the end that writes down how the others ended.
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
