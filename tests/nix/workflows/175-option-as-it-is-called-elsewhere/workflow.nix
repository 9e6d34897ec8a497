{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    runs-on = "ubuntu-latest";
    steps = [ { run = "make"; } ];
  };
}
