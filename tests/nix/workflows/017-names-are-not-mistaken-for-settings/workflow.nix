{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "inherit";
  jobs."inherit".steps = [
    {
      name = "inherit";
      bash = "true";
      workdir = "inherit";
    }
  ];
}
