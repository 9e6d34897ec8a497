{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.local (builtins.fromJSON ''{ "copyRepo": "no" }'');
  jobs.build.steps = [ { bash = "true"; } ];
}
