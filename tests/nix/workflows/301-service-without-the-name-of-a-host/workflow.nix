{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.a = {
    steps = [ { bash = "true"; } ];
    services.My_DB.run = [ "x" ];
  };
}
