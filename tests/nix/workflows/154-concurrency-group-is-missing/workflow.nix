{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  concurrency.cancelInProgress = true;
  jobs.build.steps = [ { bash = "true"; } ];
}
