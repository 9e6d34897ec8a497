{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "older";
  jobs.test.actions = [
    {
      name = "check";
      bash = "make check";
    }
  ];
}
