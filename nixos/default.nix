# The NixOS module: each workflow is a service, and a timer where it has a schedule. docs/nixos.md
# is for its users.
#
#   options.nix      services.nixactions.*
#   workflow.nix     services.nixactions.workflows.<name>.*; the options of a workflow itself are
#                    those of ../nix/options
#   values.nix       types of these options
#   assertions.nix   what types alone cannot say
#   units.nix        options -> units
#   sandbox.nix      what the services may do
{
  config,
  lib,
  pkgs,
  ...
}:
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./units.nix
  ];

  # The language, for configurations to write steps with: `config.lib.nixactions.mkAction { … }`.
  config.lib.nixactions = import ../nix {
    inherit lib pkgs;
    nixactions = config.services.nixactions.package;
  };
}
