{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    retry.maxAttempts = 3;
    steps = [ { bash = "true"; } ];
  };
}
