# An overlay for pkgs.nix: the tools that actions run. They are the host's own, found in its PATH,
# with which tests/library/ runs what it builds there.
_: super:
let
  inherit (super) lib;

  path = "/usr/sbin:/usr/bin:/sbin:/bin:" + builtins.getEnv "PATH";
  # The first of the programs is the package's main one.
  programs =
    name: names:
    super.runCommand name
      {
        inherit names path;
        meta.mainProgram = lib.head names;
      }
      ''
        mkdir -p "$out/bin"
        for name in $names; do
          found=$(PATH=$path type -P "$name") || { echo "$name is not installed here" >&2; exit 1; }
          ln -s "$(readlink -e "$found")" "$out/bin/$name"
        done
      '';
  # One that may lie where a job does not see it.
  copy =
    name:
    super.runCommand name
      {
        inherit name path;
        meta.mainProgram = name;
      }
      ''
        mkdir -p "$out/bin"
        cp "$(PATH=$path type -P "$name")" "$out/bin/$name"
      '';
  # A toolchain is a directory; rustup's programs of the same names are not the real ones.
  rust =
    name: names:
    super.runCommand name
      {
        inherit names;
        toolchain = builtins.getEnv "NIXACTIONS_TEST_RUST";
        meta.mainProgram = lib.head names;
      }
      ''
        mkdir -p "$out/bin"
        for name in $names; do ln -s "$toolchain/bin/$name" "$out/bin/$name"; done
      '';
in
{
  jq = programs "jq" [ "jq" ];
  git = programs "git" [ "git" ];
  age = programs "age" [ "age" ];
  sops = copy "sops";
  buildah = programs "buildah" [ "buildah" ];

  nodejs = programs "nodejs" [
    "node"
    "npm"
  ];
  nodejs_20 = programs "nodejs_20" [
    "node"
    "npm"
  ];
  python3 = programs "python3" [ "python3" ];
  python311 = programs "python311" [ "python3" ];
  python3Packages.sample = programs "sample" [ "env" ];
  rustc = rust "rustc" [ "rustc" ];
  cargo = rust "cargo" [ "cargo" ];
  clippy = rust "clippy" [ "cargo-clippy" ];
  rustfmt = rust "rustfmt" [ "rustfmt" ];
  stdenv = super.stdenv // {
    cc = programs "cc" [ "cc" ];
  };
}
# Scripts are checked by shellcheck where the host has it.
// lib.optionalAttrs (builtins.pathExists "/usr/bin/shellcheck") {
  shellcheck = programs "shellcheck" [ "shellcheck" ];
}
