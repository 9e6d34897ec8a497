# Names like those of the engine, which belong to no input, matrix, need or step of the plan.
{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  env = {
    CI = "yes";
    GITHUB_SHA = "0";
    HOME = "/srv/home";
    INPUT_X = "1";
    MATRIX_X = "1";
    NEEDS_X_RESULT = "1";
    PATH = "/bin";
    STEPS_X_OUTCOME = "1";
  };
  jobs.a.steps = [ { bash = "true"; } ];
}
