{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  env.JOB_ENV = "x";
  jobs = {
    build = {
      outputs.dist = "dist/";
      steps = [ { name = "compile"; } ];
    };
    test = {
      needs = [ "biuld" ];
      steps = [ { bash = "true"; } ];
    };
    empty.steps = [ ];
  };
}
