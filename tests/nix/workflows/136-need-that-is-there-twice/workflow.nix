{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build.steps = [ { bash = "true"; } ];
    test = {
      needs = [
        "build"
        "build"
      ];
      steps = [ { bash = "true"; } ];
    };
  };
}
