{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [
      "a b"
      "a/b"
    ];
    job = _: { steps = [ { bash = "true"; } ]; };
  };
}
