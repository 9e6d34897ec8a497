{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test = {
    executor = nixactions.executors.k8s;
    steps = [ { bash = "true"; } ];
  };
}
