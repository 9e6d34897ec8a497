{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [
      "linux"
      "bsd"
    ];
    job =
      { os }:
      {
        needs = [ "test" ];
        steps = [ { bash = "echo ${os}"; } ];
      };
  };
}
