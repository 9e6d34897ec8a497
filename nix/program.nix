# The program of a step, as a derivation: its package, or its script.
{ writeScript, ... }:
at: step:
let
  text = if step.bash != null then step.bash else step.script;
in
if step.bash != null && step.script != null then
  throw "${at}: both `bash` and `script`, another name for it: take one away"
else if step.package != null && text != null then
  throw "${at}: both `bash` and `package`: make it two steps"
else if step.package != null then
  step.package
else if text != null then
  writeScript {
    name = if step.name == null then "step" else step.name;
    inherit text;
    inherit (step) deps;
    shell = if step.shell == null then "bash" else step.shell;
  }
else
  throw "${at}: neither `bash` nor `package`: give it a script, or a package to run"
