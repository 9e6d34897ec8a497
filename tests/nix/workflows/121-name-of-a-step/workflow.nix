{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "two\nlines";
      bash = "true";
    }
  ];
}
