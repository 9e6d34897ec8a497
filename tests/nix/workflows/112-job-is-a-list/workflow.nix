{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = [ { bash = "make"; } ];
}
