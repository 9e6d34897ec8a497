{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "inputs";
  inputs = {
    release.default = "dev";
    target = {
      type = "choice";
      options = [
        "linux"
        "bsd"
      ];
      required = true;
      description = "What it is built for";
    };
    dry-run = {
      type = "boolean";
      default = false;
    };
    jobs = {
      type = "number";
      default = 1.5;
    };
    note = { };
  };
  jobs.build.steps = [ { bash = "echo \"$INPUT_RELEASE $INPUT_TARGET\""; } ];
}
