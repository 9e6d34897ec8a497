{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = builtins.fromJSON ''"next\u0085line"'';
      bash = "true";
    }
  ];
}
