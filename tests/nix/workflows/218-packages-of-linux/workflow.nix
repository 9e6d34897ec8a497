{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test.steps = [
    {
      bash = "git --version";
      deps = [ nixactions.linuxPkgs.git ];
    }
  ];
}
