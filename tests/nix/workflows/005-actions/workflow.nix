{ nixactions, pkgs, ... }:
let
  check = nixactions.mkAction {
    name = "check";
    bash = "make check";
    deps = [ pkgs.git ];
    env = {
      LEVEL = "action";
    };
    timeout = "5m";
    args = [ "--all" ];
  };
in
nixactions.mkWorkflow {
  name = "actions";
  jobs.test.steps = [
    check
    # The same with other options.
    {
      package = check;
      timeout = "10m";
      condition = "always()";
    }
    pkgs.git
    {
      package = pkgs.git;
      args = [ "status" ];
      name = "what changed";
    }
    (nixactions.mkAction { package = pkgs.git; })
  ];
}
