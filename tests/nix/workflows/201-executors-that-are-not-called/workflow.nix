# `executors.local` and `executors.systemd` are executors by themselves.
{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.systemd;
  jobs = {
    lint.steps = [ { bash = "true"; } ];
    build = {
      executor = nixactions.executors.local;
      steps = [ { bash = "true"; } ];
    };
    test = {
      executor = nixactions.executors.local { };
      steps = [ { bash = "true"; } ];
    };
  };
}
