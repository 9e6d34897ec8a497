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
          name = "quotes";
          bash = "true";
          condition = "contains(needs.*.result, \"failure\")";
        }
        {
          name = "here";
          bash = "true";
          condition = "github.ref == \"refs/heads/main\"";
        }
        {
          name = "mixed";
          bash = "true";
          condition = "needs.build.result == 'success' && [ -f a ]";
        }
        {
          name = "word";
          bash = "true";
          condition = "!cancelled";
        }
        {
          name = "both";
          bash = "true";
          condition = "!\${{ cancelled() }}";
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
