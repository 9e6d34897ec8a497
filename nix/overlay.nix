# nixpkgs with this package.
final: _: {
  nixactions = final.callPackage ./package.nix { };
}
