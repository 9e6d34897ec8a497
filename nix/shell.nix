# The development shell.
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

    # The programs that examples/run and tests/run execute. nixpkgs lacks mmdebstrap(1), which
    # makes test machines from Debian's archive.
    pkgs.dbus
    pkgs.git
    pkgs.util-linux
  ];
  # The path of nixpkgs for tests of the language. A Nix path would be copied to the store.
  env.NIXACTIONS_TEST_NIXPKGS = toString pkgs.path;
}
