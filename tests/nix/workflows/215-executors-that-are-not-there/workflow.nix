{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test = {
    executor = nixactions.executors.oci { mode = "isolated"; };
    steps = [ { bash = "true"; } ];
  };
}
