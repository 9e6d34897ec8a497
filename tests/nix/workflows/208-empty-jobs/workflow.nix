# Left out as those are whose condition does not hold.
{ nixactions, lib, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    test.steps = [ { bash = "true"; } ];
    deploy = lib.optionalAttrs false { steps = [ { bash = "true"; } ]; };
    release = lib.mkIf false { steps = [ { bash = "true"; } ]; };
  };
}
