# The program of a step, as a derivation: its package, or its script.
{ writeScript, ... }:
at: step:
if step.package != null && step.bash != null then
  throw "${at}: both `bash` and `package`: make it two steps"
else if step.package != null then
  step.package
else if step.bash != null then
  writeScript {
    name = if step.name == null then "step" else step.name;
    text = step.bash;
    inherit (step) deps;
  }
else
  throw "${at}: neither `bash` nor `package`: give it a script, or a package to run"
