{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build =
    { os, ... }:
    {
      steps = [ { bash = "test ${os}"; } ];
    };
}
