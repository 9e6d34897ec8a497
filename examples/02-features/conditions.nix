# Conditions of jobs and steps: `success()` (the default), `failure()`, `always()`, `cancelled()`,
# an expression of GitHub's language, or the exit status of a script.
#
# Look at: The log has the reason for each skipped job and step. Run it with `--input
# healthy=false`: `deploy` fails, its step `diagnose` and the job `rollback` run, `announce` does
# not run, and `report` runs in any case. `node` needs a package.json in the repository.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "conditions";
  inputs.healthy = {
    type = "boolean";
    default = true;
    description = "Whether the new release passes its health check";
  };
  jobs = {
    deploy.steps = [
      {
        name = "switch";
        bash = ''
          mkdir -p releases/new
          date > releases/new/date
          ln -sfn releases/new current
        '';
      }
      {
        id = "health";
        name = "health";
        bash = ''[ -s current/date ] && [ "$INPUT_HEALTHY" = true ]'';
      }
      {
        name = "diagnose";
        condition = "failure() && steps.health.outcome == 'failure'";
        bash = "ls -l current current/";
      }
      {
        name = "clean";
        condition = "always()";
        bash = "rm -rf releases current";
      }
    ];
    announce = {
      needs = [ "deploy" ];
      steps = [
        {
          name = "tell";
          bash = ''echo "deployed: $NEEDS_DEPLOY_RESULT"'';
        }
      ];
    };
    rollback = {
      needs = [ "deploy" ];
      condition = "!cancelled() && needs.deploy.result == 'failure'";
      steps = [
        {
          name = "switch back";
          bash = ''echo "back to the release before: $NEEDS_DEPLOY_RESULT"'';
        }
      ];
    };
    node = {
      condition = "[ -e package.json ]";
      steps = [
        {
          name = "describe";
          bash = "cat package.json";
        }
      ];
    };
    report = {
      needs = [
        "announce"
        "rollback"
      ];
      condition = "always()";
      steps = [
        {
          name = "tell";
          bash = ''echo "announce: $NEEDS_ANNOUNCE_RESULT, rollback: $NEEDS_ROLLBACK_RESULT"'';
        }
      ];
    };
  };
}
