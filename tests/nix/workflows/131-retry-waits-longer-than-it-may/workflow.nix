{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "fetch";
      bash = "make fetch";
      retry.min_time = "5m";
    }
  ];
}
