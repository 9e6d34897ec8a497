{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs =
    nixactions.mkMatrixJobs {
      name = "test";
      matrix.os = [ "linux" ];
      job = _: { steps = [ { bash = "true"; } ]; };
    }
    // {
      test.steps = [ { bash = "true"; } ];
    };
}
