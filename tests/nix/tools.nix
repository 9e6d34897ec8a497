# An overlay for pkgs.nix: the tools that actions run. They are the host's own, found in its PATH, with which tests/library/ runs what
# it builds; `vault`, `op` and `bw` are stand-ins for their command lines (stand-ins/), since each wants a server.
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
  standIn =
    name: program:
    super.runCommand name { meta.mainProgram = program; } ''
      mkdir -p "$out/bin"
      cp ${./stand-ins}/${program} "$out/bin/${program}"
      chmod +x "$out/bin/${program}"
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
  # It leaves what it was called with in the workspace, where a secret would be seen.
  jq = super.runCommand "jq" { meta.mainProgram = "jq"; } ''
    mkdir -p "$out/bin"
    cat > "$out/bin/jq" <<'END'
    #!/bin/bash
    [ -z "''${NIXACTIONS_WORKSPACE-}" ] || printf '%s\n' "$@" >> "$NIXACTIONS_WORKSPACE/called-with"
    exec /usr/bin/jq "$@"
    END
    chmod +x "$out/bin/jq"
  '';
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

  vault = standIn "vault" "vault";
  _1password-cli = standIn "1password-cli" "op";
  bitwarden-cli = standIn "bitwarden-cli" "bw";
}
# Scripts are checked by shellcheck where the host has it.
// lib.optionalAttrs (builtins.pathExists "/usr/bin/shellcheck") {
  shellcheck = programs "shellcheck" [ "shellcheck" ];
}
