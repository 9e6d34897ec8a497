{ nixactions, ... }:
let
  compile = nixactions.mkAction {
    name = "compile";
    bash = "make";
    tiemout = 3;
  };
in
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [ compile ];
}
