{ nixactions, pkgs, ... }:
nixactions.mkWorkflow {
  name = "ci";
  defaults.workdir = "\${{ matrix.os }}";
  jobs.build = {
    defaults.workdir = "\${{ steps.none.outputs.x }}";
    steps = [
      {
        name = "package";
        package = pkgs.git;
        shell = "sh";
      }
      {
        name = "two scripts";
        bash = "true";
        script = "true";
      }
      {
        name = "where";
        bash = "true";
        workdir = "\${{ matrix.os }}";
        post = {
          workdir = "\${{ steps.none.outputs.x }}";
          env.A = "\${{ succes() }}";
          env.INPUT_X = "x";
          env.CI_JOB = "\${{ job.status }}";
        };
      }
    ];
  };
  inputs.x = { };
}
