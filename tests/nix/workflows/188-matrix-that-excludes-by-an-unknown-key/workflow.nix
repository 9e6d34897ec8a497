{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [
      "linux"
      "bsd"
    ];
    exclude = [ { oss = "bsd"; } ];
    job = _: { steps = [ { bash = "true"; } ]; };
  };
}
