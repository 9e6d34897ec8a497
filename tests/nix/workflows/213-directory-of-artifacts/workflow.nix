{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test.steps = [
    {
      name = "save";
      bash = ''cp -r dist "$NIXACTIONS_ARTIFACTS_DIR"'';
    }
  ];
}
