{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "at-once";
  retry = {
    min_time = 0;
    max_time = 0;
  };
  jobs.flaky.steps = [
    {
      bash = "true";
      retry.min_time = "0s";
    }
  ];
}
