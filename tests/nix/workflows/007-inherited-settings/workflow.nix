{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "inherited";
  retry.max_attempts = 3;
  timeout = null;
  jobs = {
    kept.steps = [ { bash = "true"; } ];
    without = {
      retry = null;
      timeout = null;
      steps = [
        {
          bash = "true";
          retry = null;
          timeout = null;
        }
      ];
    };
  };
}
