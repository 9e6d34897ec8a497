{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build.steps = [ { bash = "true"; } ];
    deploy = {
      needs = [ "build" ];
      condition = "needs.build.result == 'success'";
      steps = [
        {
          name = "misspelt";
          bash = "true";
          condition = "sucess() && test -f x";
        }
        {
          name = "function";
          bash = "true";
          condition = "contains('a', 'b')";
        }
        {
          name = "unknown";
          bash = "true";
          condition = "foo() && true";
        }
        {
          name = "program";
          bash = "true";
          condition = "command env.sh && ./needs.sh";
        }
      ];
    };
  };
}
