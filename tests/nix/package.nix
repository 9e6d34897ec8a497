# The package as nix/package.nix describes it to `buildRustPackage`, without nixpkgs' packages: the
# files of its `src`, what cargo is asked to build and test, and the Rust that it refuses.
let
  lib = import <nixpkgs/lib>;
  function = import ../../nix/package.nix;
  describe =
    rust:
    function (
      builtins.mapAttrs (_: _: { }) (builtins.functionArgs function)
      // {
        inherit lib;
        rustc.version = rust;
        rustPlatform.buildRustPackage = arguments: arguments;
      }
    );
  package = describe "1000.0.0";
  inherit (package) src;

  # As a store path would be made of it: a directory is entered where the filter takes it.
  filesBelow =
    prefix: directory:
    lib.concatLists (
      lib.mapAttrsToList (
        name: type:
        let
          path = directory + "/${name}";
        in
        if !src.filter (toString path) type then
          [ ]
        else if type == "directory" then
          filesBelow "${prefix}${name}/" path
        else
          [ "${prefix}${name}" ]
      ) (builtins.readDir directory)
    );
in
{
  files = filesBelow "" src.origSrc;
  build = package.cargoBuildFlags or [ ];
  test = package.cargoTestFlags;
  tooOld = (describe "1.60.0").pname;
}
