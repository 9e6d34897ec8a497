{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  extensions = workflow: workflow;
  jobs.build.steps = [ { bash = "true"; } ];
}
