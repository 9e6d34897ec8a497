{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "artifacts";
  jobs = {
    build = {
      outputs = {
        dist = "dist/";
        manual = "doc/manual.pdf";
      };
      steps = [ { bash = "make dist manual"; } ];
    };
    test = {
      needs = [ "build" ];
      inputs = [ "dist" ];
      steps = [ { bash = "dist/run --self-test"; } ];
    };
    # A job may also take the artifacts of an indirect need.
    publish = {
      needs = [ "test" ];
      inputs = [
        "dist"
        {
          name = "manual";
          path = "attachments";
        }
      ];
      steps = [ { bash = "ls dist attachments/doc/manual.pdf"; } ];
    };
  };
}
