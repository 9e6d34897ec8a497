{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  concurrency = "deploy";
  jobs.build.steps = [ { bash = "true"; } ];
}
