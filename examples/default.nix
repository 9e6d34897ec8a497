# The examples in Nix by the names of their workflows: `nixactions run examples --attr simple`.
# README.md describes each of them.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ./.. { inherit pkgs; }).lib,
}:
builtins.mapAttrs (_: file: import file { inherit nixactions pkgs; }) {
  simple = ./01-basic/simple.nix;
  parallel = ./01-basic/parallel.nix;
  env-sharing = ./01-basic/env-sharing.nix;

  artifacts = ./02-features/artifacts.nix;
  artifacts-paths = ./02-features/artifacts-paths.nix;
  cleanup = ./02-features/cleanup.nix;
  conditions = ./02-features/conditions.nix;
  retry = ./02-features/retry.nix;
  timeout = ./02-features/timeout.nix;
  secrets = ./02-features/secrets.nix;
  matrix = ./02-features/matrix.nix;
  nix-shell = ./02-features/nix-shell.nix;
  containers = ./02-features/containers.nix;
  isolation = ./02-features/isolation.nix;
  logging = ./02-features/logging.nix;
  hooks-executor = ./02-features/hooks-executor.nix;
  extensions = ./02-features/extensions.nix;

  python-ci = ./03-real-world/python-ci/ci.nix;
  node-ci = ./03-real-world/node-ci/ci.nix;
  rust-ci = ./03-real-world/rust-ci/ci.nix;
  complete = ./03-real-world/complete/ci.nix;
  buildah = ./03-real-world/buildah/ci.nix;
}
