{ nixactions, pkgs, ... }:
nixactions.mkWorkflow {
  name = "variables";
  env = {
    TEXT = "a b";
    NUMBER = 3;
    FRACTION = 1.5;
    YES = true;
    NO = false;
    EMPTY = "";
    PACKAGE = pkgs.git;
    PROGRAM = "${pkgs.git}/bin/git";
    SEVERAL = ''
      two
      lines
    '';
  };
  jobs.test.steps = [ { bash = "env"; } ];
}
