{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  executor = nixactions.executors.oci { image = "alpine:3"; };
  jobs.a.steps = [ { bash = "true"; } ];
}
