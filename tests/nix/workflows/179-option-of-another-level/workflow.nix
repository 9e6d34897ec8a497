{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    run = "make";
  };
}
