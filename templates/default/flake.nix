{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

    # Where nixactions is. This is a name, which `nix flake lock --override-flake nixactions <reference>` looks up once, for flake.lock.
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
