# It leaves what is inherited.
{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  retry.max_attempts = 2;
  jobs.test = {
    retry = { };
    steps = [ { bash = "true"; } ];
  };
}
