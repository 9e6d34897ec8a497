{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.test = {
    executor = nixactions.mkExecutor {
      name = "box";
      setupJob = { jobName, ... }: "echo ${jobName}";
    };
    steps = [ { bash = "true"; } ];
  };
}
