{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  job.test.steps = [ { bash = "true"; } ];
}
