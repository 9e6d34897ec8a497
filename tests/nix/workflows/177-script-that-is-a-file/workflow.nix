{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "compile";
      bash = ./compile.sh;
    }
  ];
}
