{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "compile";
      bash = "true";
      env."MY-VARIABLE" = 1;
    }
  ];
}
