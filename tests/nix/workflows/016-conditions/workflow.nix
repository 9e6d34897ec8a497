{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "conditions";
  jobs = {
    test.steps =
      map
        (condition: {
          inherit condition;
          bash = "true";
        })
        [
          "success()"
          " always() "
          "failure()"
          "cancelled()"
          "test -e Dockerfile"
          "[ \"$LEVEL\" = production ]"
          "f() { true; }; f"
          "grep -q always file"
          "my_success() { :; }; my_success"
          "failure.sh"
        ];
    tell = {
      needs = [ "test" ];
      condition = "failure()";
      steps = [ { bash = "echo failed"; } ];
    };
  };
}
