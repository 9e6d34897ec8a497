{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test.steps = [
    {
      name = "try";
      bash = "retry_command make check";
    }
  ];
}
