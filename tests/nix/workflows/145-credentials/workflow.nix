{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    credentials.token = "token";
    steps = [ { bash = "true"; } ];
  };
}
