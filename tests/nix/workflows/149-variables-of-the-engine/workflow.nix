{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  env.NIXACTIONS_RUN = "ci-1";
  inputs.release = { };
  jobs = {
    build.steps = [ { bash = "true"; } ];
    test-it = {
      needs = [ "build" ];
      env.INPUT_RELEASE = "1";
      env.NEEDS_BUILD_RESULT = "success";
      steps = [
        {
          bash = "true";
          env.GITHUB_ENV = "x";
        }
      ];
    };
  };
}
