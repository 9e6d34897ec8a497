{ nixactions, lib, ... }:
nixactions.mkWorkflow {
  name = "modules";
  jobs = lib.mkMerge [
    { test.steps = [ { bash = "make check"; } ]; }
    {
      test.steps = lib.mkBefore [ { bash = "make"; } ];
      test.env.LEVEL = lib.mkDefault "low";
    }
    { test.env.LEVEL = "high"; }
    (lib.mkIf false { never.steps = [ { bash = "false"; } ]; })
  ];
}
