{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  inputs = {
    stage = {
      type = "choice";
      options = [
        "dev"
        "prod"
      ];
      default = "pord";
    };
    kind.type = "choice";
    count = {
      type = "number";
      default = "3";
    };
    both = {
      default = "x";
      required = true;
    };
    list.options = [ "a" ];
    a-b = { };
    A_B = { };
  };
  jobs.build.steps = [ { bash = "true"; } ];
}
