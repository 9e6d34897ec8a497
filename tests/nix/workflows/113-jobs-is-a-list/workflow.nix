{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = [ { steps = [ { bash = "true"; } ]; } ];
}
