{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "tell";
      bash = "make tell";
      "if" = "failure()";
    }
  ];
}
