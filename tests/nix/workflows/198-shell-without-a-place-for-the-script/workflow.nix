{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    {
      name = "compile";
      shell = [ "perl" ];
      script = "print 1";
    }
  ];
}
