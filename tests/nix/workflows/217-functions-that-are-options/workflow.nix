{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  retry = nixactions.retry.default;
  jobs.test.steps = [ { bash = "true"; } ];
}
