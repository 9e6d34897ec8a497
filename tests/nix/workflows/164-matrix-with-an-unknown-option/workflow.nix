{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [ "linux" ];
    failfast = false;
    job = _: { steps = [ { bash = "true"; } ]; };
  };
}
