{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  env.STEPS_A_B_KEY = "x";
  jobs.build.steps = [
    {
      id = "a";
      bash = "true";
    }
    {
      id = "a";
      bash = "true";
    }
    {
      id = "a-b";
      bash = "true";
    }
    {
      id = "a_b";
      bash = "true";
    }
  ];
}
