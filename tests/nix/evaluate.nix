# A workflow of the tests: a function from the language and `pkgs` to it, or the file where that
# stands.
{ workflow }:
let
  pkgs = import ./pkgs.nix { };
in
(if builtins.isPath workflow then import workflow else workflow) {
  inherit pkgs;
  inherit (pkgs) lib;
  nixactions = import ../../nix { inherit pkgs; };
}
