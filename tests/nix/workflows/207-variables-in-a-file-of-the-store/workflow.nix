# Each is taken, and is readable by everybody.
{ pkgs, ... }:
let
  nixactions = import ../../../../nix {
    pkgs = pkgs // {
      jq = pkgs.git;
    };
  };
  file = pkgs.writeTextFile {
    name = "ci.env";
    text = "LEVEL=low\n";
  };
in
nixactions.mkWorkflow {
  name = "ci";
  envFrom = [
    (nixactions.envProviders.file { path = file; })
    (nixactions.envProviders.file { path = "${file}"; })
  ];
  jobs.test.steps = [ { bash = "true"; } ];
}
