{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "compile";
      bash = "true";
      tiemout = 3;
    }
  ];
}
