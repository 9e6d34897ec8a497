{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build.steps = [ { bash = "true"; } ];
    hooked = {
      executor = nixactions.mkExecutor {
        name = "box";
        executeJob = "true";
      };
      outputsFrom.x = "\${{ steps.unit.outputs.x }}";
      steps = [
        {
          id = "unit";
          bash = "true";
        }
      ];
    };
    test = {
      needs = [ "build" ];
      condition = "always() && needs.biuld.result == 'success'";
      outputsFrom.x = "\${{ step.a.outputs.x }}";
      steps = [
        {
          id = "unit";
          bash = "true";
          condition = "failure() && steps.unit.outcome == 'failure'";
        }
        {
          bash = "true";
          condition = "\${{ contians('a', 'b') }}";
          env.A = "\${{ always() }}";
        }
        {
          bash = "true";
          condition = "success() && a b";
        }
      ];
    };
  };
}
