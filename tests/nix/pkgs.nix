# A stand-in for nixpkgs: the little of `pkgs` that the language needs, as derivations over the
# programs of the Debian machine that builds them. Nothing here is hermetic, and a package is only
# links to its programs. With it, a real Nix evaluates, builds and runs workflows on a machine with
# neither nixpkgs nor a binary cache. In a test machine it is `import
# <nixpkgs> { }`.
{
  lib ? import <nixpkgs/lib>,
  system ? builtins.currentSystem,
  overlays ? [ ],
  config ? { },
}:
let
  # As nixpkgs' function: bash, with the environment as variables, that makes `$out`.
  runCommand =
    name: env: script:
    derivation (
      removeAttrs env [
        "meta"
        "passthru"
      ]
      // {
        inherit name system;
        outputs = [ "out" ];
        builder = "/bin/bash";
        args = [
          "-c"
          ''PATH=/usr/sbin:/usr/bin:/sbin:/bin; set -eu -o pipefail; . "$buildCommandPath"''
        ];
        buildCommand = script;
        passAsFile = env.passAsFile or [ ] ++ [ "buildCommand" ];
      }
    )
    // env.passthru or { }
    // {
      meta = env.meta or { };
    };

  # The programs of Debian packages.
  debian =
    packages: mainProgram:
    runCommand (lib.head (lib.splitString " " packages)) { meta = { inherit mainProgram; }; } ''
      mkdir -p "$out/bin"
      programs=$(dpkg --listfiles ${packages} | grep -E '^(/usr)?/s?bin/.') || { echo "${packages} is not installed here" >&2; exit 1; }
      for program in $programs; do
        ln -sf "$(readlink -e "$program")" "$out/bin/''${program##*/}"
      done
    '';

  base = self: {
    inherit
      lib
      system
      config
      runCommand
      ;
    stdenv = {
      shellDryRun = "${self.runtimeShell} -n -O extglob";
      hostPlatform = {
        inherit system;
        isLinux = true;
        isGnu = false;
      };
    };
    writeTextFile =
      {
        name,
        text,
        executable ? false,
        destination ? "",
        checkPhase ? "",
        meta ? { },
      }:
      runCommand name
        {
          inherit text meta;
          passAsFile = [ "text" ];
        }
        ''
          target=$out${destination}
          mkdir -p "$(dirname "$target")"
          cp "$textPath" "$target"
          ${lib.optionalString executable ''chmod +x "$target"''}
          ${checkPhase}
        '';
    writeShellScript =
      name: text:
      self.writeTextFile {
        inherit name;
        text = "#!${self.runtimeShell}\n${text}";
        executable = true;
      };
    runtimeShell = "${self.bash}/bin/bash";

    bash = debian "bash" "bash";
    coreutils = debian "coreutils" "ls";
    diffutils = debian "diffutils" "diff";
    findutils = debian "findutils" "find";
    git = debian "git" "git";
    gnugrep = debian "grep" "grep";
    gnused = debian "sed" "sed";
    gnutar = debian "tar" "tar";
    gzip = debian "gzip" "gzip";
    iproute2 = debian "iproute2" "ip";
    nix = debian "nix-bin" "nix";
    python3 = debian "python3-minimal" "python3";
    procps = debian "procps" "ps";
    systemd = debian "systemd systemd-container" "systemctl";
    util-linux = debian "util-linux" "mount";

    # The program under test, where the tests' machines have it.
    nixactions = runCommand "nixactions" { meta.mainProgram = "nixactions"; } ''
      mkdir -p "$out/bin"
      ln -s /usr/bin/nixactions "$out/bin/nixactions"
    '';
  };
in
lib.fix (lib.extends (lib.composeManyExtensions overlays) base)
