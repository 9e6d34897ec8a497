# `jobTemplate` is `job`. The values alone name the jobs, and `needs` on the matrix means all.
{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    done = {
      needs = [ "test" ];
      steps = [ { bash = "true"; } ];
    };
  }
  // nixactions.mkMatrixJobs {
    name = "test";
    matrix = {
      node = [
        18
        20
      ];
      os = [ "linux" ];
    };
    jobTemplate =
      { node, os }:
      {
        steps = [ { bash = "echo ${os} ${toString node}"; } ];
      };
  };
}
