{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix = {
      os = [ "linux" ];
      version = [ ];
    };
    include = [ { os = "bsd"; } ];
    job = _: { steps = [ { bash = "true"; } ]; };
  };
}
