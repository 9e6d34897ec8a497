{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    a = {
      outputs.one = "report.txt";
      steps = [ { bash = "true"; } ];
    };
    b = {
      outputs.two = "./report.txt";
      steps = [ { bash = "true"; } ];
    };
    all = {
      needs = [
        "a"
        "b"
      ];
      inputs = [
        "one"
        "two"
      ];
      steps = [ { bash = "true"; } ];
    };
  };
}
