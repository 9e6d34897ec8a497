# The NixOS module. Each workflow is a service, with a timer if it has a schedule. docs/nixos.md is
# the documentation for users.
#
#   options.nix      services.nixactions.*
#   workflow.nix     services.nixactions.workflows.<name>.*; the options of a workflow itself are
#                    those of ../nix/options
#   values.nix       types of these options
#   text.nix         values as units have them
#   assertions.nix   what types alone cannot say
#   schedules.nix    what systemd-analyze says of schedules
#   units.nix        options -> units
#   operators.nix    users who may use the workflows without root
#   first.nix        services that start before each run of a workflow (first.sh)
#   fetch.nix        sources from git (fetch.sh)
#   images.nix       images, unpacked before the run
#   obtain.nix       a service that obtains images
#   resume.nix       runs that the end of the machine interrupted (resume.sh)
#   catalog.nix      explanations of messages in the journal
#   sandbox.nix      what the services may do
#   images-of.nix    which workflows have images
#   logins.nix       logins to registries
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
    ./schedules.nix
    ./units.nix
    ./operators.nix
    ./first.nix
    ./fetch.nix
    ./images.nix
    ./resume.nix
    ./catalog.nix
  ];

  # The language, for steps in the configuration: `config.lib.nixactions.mkAction { … }`.
  config.lib.nixactions = import ../nix {
    inherit lib pkgs;
    nixactions = config.services.nixactions.package;
  };
}
