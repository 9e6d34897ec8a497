# What the project is worked on with.
{ pkgs, package }:
pkgs.mkShell {
  inputsFrom = [ package ];
  packages = [
    pkgs.clippy
    pkgs.rust-analyzer
    pkgs.rustfmt

    pkgs.deadnix
    pkgs.nixfmt
    pkgs.statix

    # What examples/run and tests/run execute. Test machines are made of Debian's archive.
    pkgs.dbus
    pkgs.git
    pkgs.mmdebstrap
    pkgs.util-linux
  ];
  # Where tests of the language find nixpkgs. A path itself would be copied to the store.
  env.NIXACTIONS_TEST_NIXPKGS = toString pkgs.path;
}
