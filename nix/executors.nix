# The executors that come with systemd. Each function's argument may be empty, and `local` and
# `systemd` need not be called. `name` distinguishes executors with different settings.
{
  lib,
  types,
  ...
}:
let
  options = import ./options/executors.nix { inherit lib types; };
  executor =
    function: compile:
    let
      type = types.record "executor" options.${function};
    in
    arguments:
    let
      settings = types.evaluate type [ "executors" function ] arguments;
    in
    {
      _type = "executor";
      inherit (settings) name;
      plan = compile settings;
    };
  # Can be used with or without a call.
  callable = make: make { } // { __functor = _: make; };
  older = import ./bash-compiler.nix { inherit lib; };
in
older.executors
// rec {
  # Jobs are services of the host.
  systemd = callable (
    executor "systemd" (
      settings:
      builtins.seq settings.slice {
        type = "systemd";
        inherit (settings) copyRepo sandbox properties;
      }
    )
  );

  # The same without systemd settings.
  local = callable (
    executor "local" (settings: {
      type = "systemd";
      inherit (settings) copyRepo;
    })
  );

  # Jobs are containers of systemd-nspawn(1) with their own root file system.
  nspawn = executor "nspawn" (settings: {
    type = "nspawn";
    root = "${settings.root}";
    inherit (settings) copyRepo network properties;
  });

  # Its name in NixActions' bash compiler.
  nixosContainer = nspawn;
}
