{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    strategy.matrix.os = [ "linux" ];
    steps = [ { bash = "make"; } ];
  };
}
