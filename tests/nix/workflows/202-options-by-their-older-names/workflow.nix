# Each means what its name of today means.
{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.report = {
    "if" = "always()";
    continue-on-error = true;
    envProviders = [ (nixactions.envProviders.static { LEVEL = "low"; }) ];
    actions = [
      {
        bash = "true";
        "if" = "failure()";
        continue-on-error = true;
      }
    ];
  };
}
