# Wires only: what there is, default.nix says, for those who use no flakes as well.
{
  description = "CI workflows in Nix, run as systemd units";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      projects = lib.genAttrs systems (system: import ./. { pkgs = nixpkgs.legacyPackages.${system}; });
      each = take: lib.mapAttrs (_: take) projects;
    in
    {
      # `lib.x86_64-linux.mkWorkflow { … }`, with this flake's nixpkgs; `(lib.withPkgs
      # pkgs).mkWorkflow { … }` with yours.
      lib = each (project: project.lib) // {
        withPkgs = pkgs: (import ./. { inherit pkgs; }).lib;
      };

      packages = each (project: {
        default = project.package;
        nixactions = project.package;
      });
      # `nix run .#examples.simple`.
      legacyPackages = each (project: {
        inherit (project) examples;
      });
      apps = each (project: {
        default = {
          type = "app";
          program = lib.getExe project.package;
          meta.description = "Runs workflows and looks at their runs";
        };
      });
      overlays.default = import ./nix/overlay.nix;

      nixosModules.default = ./nixos;
      homeManagerModules.default = ./home;

      templates.default = {
        path = ./templates/default;
        description = "A workflow that `nix run .#ci` runs";
        welcomeText = ''
          The workflow is in `ci.nix`. Say once where nixactions is, then run it:

              nix flake lock --override-input nixactions <the reference you gave to -t>
              nix run .#ci
        '';
      };

      checks = each (project: project.checks);
      devShells = each (project: {
        default = project.shell;
      });
      formatter = each (project: project.formatter);
    };
}
