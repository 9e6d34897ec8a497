{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [ "linux" ];
    job.steps = [ { bash = "true"; } ];
  };
}
