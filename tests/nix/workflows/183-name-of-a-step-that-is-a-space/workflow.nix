{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = builtins.fromJSON ''"\u00a0"'';
      bash = "true";
    }
  ];
}
