# nixpkgs with the package in it.
final: _: {
  nixactions = final.callPackage ./package.nix { };
}
