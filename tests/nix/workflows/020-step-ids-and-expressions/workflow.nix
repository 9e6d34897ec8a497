{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  inputs.deploy.type = "boolean";
  jobs =
    nixactions.mkMatrixJobs {
      name = "build";
      matrix.os = [
        "linux"
        "bsd"
      ];
      include = [
        {
          os = "bsd";
          old = true;
        }
      ];
      job = _: {
        condition = "\${{ !matrix.old }}";
        outputsFrom.version = "v\${{ steps.tag.outputs.version }}";
        steps = [
          {
            id = "tag";
            bash = "echo version=1.2 >> \"$NIXACTIONS_OUTPUT\"";
          }
          {
            bash = "echo \"$KEY\"";
            condition = "\${{ matrix.os == 'linux' }}";
            env.KEY = "cargo-\${{ hashFiles('Cargo.lock') }}";
          }
        ];
      };
    }
    // {
      deploy = {
        needs = [ "build" ];
        condition = "!cancelled() && needs.build-linux.result == 'success' && inputs.deploy";
        steps = [
          {
            id = "unit";
            bash = "make";
          }
          {
            bash = "true";
            condition = "failure() && steps.unit.outcome == 'failure'";
          }
        ];
      };
    };
}
