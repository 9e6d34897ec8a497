{ nixactions, pkgs, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [
    { bash = "true"; }
    {
      bash = "true";
      package = pkgs.git;
    }
  ];
}
