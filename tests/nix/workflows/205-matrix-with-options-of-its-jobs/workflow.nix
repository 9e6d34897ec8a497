{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [ "linux" ];
    executor = nixactions.executors.local;
    steps = entry: [ { bash = "echo ${entry.os}"; } ];
  };
}
