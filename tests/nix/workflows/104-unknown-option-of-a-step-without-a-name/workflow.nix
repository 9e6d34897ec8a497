{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    { bash = "true"; }
    {
      bash = "true";
      tiemout = 3;
    }
  ];
}
