# A step: a script, or a program.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
in
{
  options = {
    inherit (common)
      env
      envFrom
      retry
      timeout
      condition
      continueOnError
      ;
    name = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "compile";
      description = "What the record and the journal call it.";
    };
    bash = lib.mkOption {
      type = lib.types.nullOr lib.types.lines;
      default = null;
      example = "cargo build --release";
      description = "The script, run by bash with `errexit`, `nounset` and `pipefail`, and checked by shellcheck when it is built.";
    };
    deps = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.cargo pkgs.gcc ]";
      description = "Packages whose programs the script finds first in its PATH.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      example = lib.literalExpression "pkgs.hello";
      description = "A package whose main program is run, in the place of a script. `steps = [ pkgs.hello ]` is short for it.";
    };
    args = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "--verbose" ];
      description = "Arguments of the script or program.";
    };
    workdir = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "frontend";
      description = "The directory where it runs, relative to the workspace.";
    };
  };
}
