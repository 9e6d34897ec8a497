{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "tell";
      bash = "true";
      condition = "!cancelled() && test -e x";
    }
  ];
}
