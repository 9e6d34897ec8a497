{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  logging = {
    format = "json";
    level = "debug";
  };
  jobs.test.steps = [ { bash = "true"; } ];
}
