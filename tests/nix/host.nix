# `<nixpkgs>` of machines that see more of the host that runs the tests: its /usr as /srv/host/usr,
# and its Rust as /srv/rust. To the packages of pkgs.nix come those that only the host has. The
# machine's own dynamic linker and libc run them, which must not be older than the host's; what
# other libraries the machine lacks are the host's. A program that the host does not have fails when
# it is run.
arguments:
let
  host = "/srv/host/usr";

  overlay =
    final: prev:
    let
      borrow =
        name: script:
        final.runCommand name { meta.mainProgram = name; } (
          ''
            mkdir -p "$out/bin" "$out/lib"
            export LD_LIBRARY_PATH=$out/lib

            # Links the libraries that a program does not find.
            complete() {
              local library missing
              while missing=$(ldd "$1" 2>/dev/null | awk '/=> not found/ { print $1 }') && [ -n "$missing" ]; do
                for library in $missing; do
                  ln -s "$(find ${host}/lib -name "$library" -print -quit)" "$out/lib/$library"
                done
              done
            }

            # Makes a command of a program of the host's and its first arguments.
            command() {
              complete "$2"
              printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$out/lib" "''${*:2}" > "$out/bin/$1"
              chmod +x "$out/bin/$1"
            }
          ''
          + script
        );
      program = name: borrow name "command ${name} ${host}/bin/${name}";
      rust =
        name: programs:
        borrow name ''
          for program in ${toString programs}; do
            ln -s "/srv/rust/bin/$program" "$out/bin/"
          done
        '';
    in
    prev.lib.optionalAttrs (builtins.pathExists "${host}/bin/shellcheck") {
      shellcheck = program "shellcheck";
    }
    # A static program, so that scripts run in a root file system that has the store alone.
    // prev.lib.optionalAttrs (builtins.pathExists "${host}/bin/bash-static") {
      bash = final.runCommand "bash" { meta.mainProgram = "bash"; } ''
        mkdir -p "$out/bin"
        cp ${host}/bin/bash-static "$out/bin/bash"
      '';
    }
    // {
      # The program under test, in the place of what nix/package.nix would make.
      callPackage = _: _: final.nixactions;

      buildah = borrow "buildah" ''
        command buildah ${host}/bin/buildah
        command newuidmap ${host}/bin/newuidmap
        command newgidmap ${host}/bin/newgidmap
      '';
      # A static program, so that a root file system needs nothing but this package.
      busybox = final.runCommand "busybox" { } ''
        mkdir -p "$out/bin"
        ! cp ${host}/bin/busybox "$out/bin/" || "$out/bin/busybox" --install -s "$out/bin"
      '';
      # An archive as `docker save` writes it, of one layer.
      dockerTools.buildLayeredImage =
        {
          name,
          contents,
          config,
        }:
        final.runCommand "${name}.tar.gz" { config = builtins.toJSON config; } ''
          mkdir -p root/bin root/nix/store
          for package in ${toString contents}; do
            cp --archive "$package" root/nix/store/
            ln -s "$package"/bin/* root/bin/
          done
          tar --directory=root --sort=name --owner=0 --group=0 --numeric-owner -cf layer.tar .
          sum=$(sha256sum layer.tar | cut -d ' ' -f 1)
          case $(uname -m) in
          x86_64) architecture=amd64 ;;
          aarch64) architecture=arm64 ;;
          esac
          printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
            "$architecture" "$config" "$sum" > config.json
          echo '[{"Config":"config.json","RepoTags":["${name}:latest"],"Layers":["layer.tar"]}]' > manifest.json
          tar -czf "$out" manifest.json config.json layer.tar
        '';
      curl = program "curl";
      dash = program "dash";
      gnumake = program "make";
      jq = program "jq";
      python3 = program "python3";
      nodejs = borrow "node" ''
        command node ${host}/bin/node
        command npm ${host}/bin/npm
        command npx ${host}/bin/npx
      '';

      cargo = rust "cargo" [ "cargo" ];
      rustc = rust "rustc" [
        "rustc"
        "rustdoc"
      ];
      rustfmt = rust "rustfmt" [
        "rustfmt"
        "cargo-fmt"
      ];
      clippy = rust "clippy" [
        "cargo-clippy"
        "clippy-driver"
      ];
      stdenv = prev.stdenv // {
        # Enough to link with.
        cc = borrow "cc" ''
          complete ${host}/bin/ld
          # The linker finds a newer ld.so than the libc is from.
          command cc ${host}/bin/gcc --sysroot=/srv/host -B${host}/bin/ -Wl,--allow-shlib-undefined
        '';
      };
    };
in
import ./pkgs.nix (arguments // { overlays = arguments.overlays or [ ] ++ [ overlay ]; })
