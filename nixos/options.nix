# services.nixactions.*
{
  config,
  lib,
  pkgs,
  ...
}:
let
  types = import ../nix/types.nix { inherit lib; };
in
{
  options.services.nixactions = {
    enable = lib.mkEnableOption "the services and timers of nixactions' workflows";

    # Works without the overlay.
    package = lib.mkPackageOption {
      nixactions = pkgs.nixactions or (pkgs.callPackage ../nix/package.nix { });
    } "nixactions" { };

    workflows = lib.mkOption {
      # They become names of units.
      type = types.attrsOf types.name (
        lib.types.submodule (
          import ./workflow.nix {
            inherit lib;
            inherit (config.lib) nixactions;
          }
        )
      );
      default = { };
      example = lib.literalExpression ''
        {
          nightly = {
            schedule = "02:30";
            source = "/srv/project";
            settings.jobs.test.steps = [ { bash = "make check"; } ];
          };
          mirror = {
            schedule = "hourly";
            package = inputs.project.packages.x86_64-linux.mirror;
          };
        }
      '';
      description = ''
        Workflows by name. A service `nixactions@<name>` runs each of them. The service's result is
        the conclusion of the run.
      '';
    };
  };
}
