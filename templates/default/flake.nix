{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

    # Put the URL of nixactions here, or let `nix flake lock --override-input nixactions
    # <reference>` write it to flake.lock. Without a URL here, `nix flake update` cannot update it.
    nixactions.url = "nixactions";
    nixactions.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, nixactions, ... }:
    {
      packages = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: {
        ci = import ./ci.nix {
          pkgs = nixpkgs.legacyPackages.${system};
          nixactions = nixactions.lib.${system};
        };
      });
    };
}
