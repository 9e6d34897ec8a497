# A stand-in for nixpkgs' flake, by which tests override the input of that name. Beside it lie
# nixpkgs' `lib` and pkgs.nix, which has most of the packages; here are those functions that only
# this project's own packaging calls.
{
  outputs = _: rec {
    lib = import ./lib;
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
      system:
      import ./pkgs.nix {
        inherit lib system;
        overlays = [ packaging ];
      }
    );
    packaging =
      final: prev:
      evaluated final
      // {
        callPackage =
          file: arguments:
          let
            function = import file;
          in
          function (builtins.intersectAttrs (builtins.functionArgs function) final // arguments);
        stdenv = prev.stdenv // {
          buildPlatform.canExecute = _: true;
          cc = final.rustc;
        };
        # Compiles nothing: it is the program under test, installed as the real one would be (where
        # Nix knows the sources: 2.14).
        rustPlatform.buildRustPackage =
          arguments:
          final.runCommand arguments.pname { inherit (arguments) meta; } (
            ''
              mkdir -p "$out/bin"
              ln -s /usr/bin/nixactions "$out/bin/nixactions"
            ''
            + lib.optionalString (builtins ? readFileType) ''
              cp -r --no-preserve=mode ${arguments.src} source
              cd source
              ${toString arguments.nativeBuildInputs}
              ${arguments.postInstall}
            ''
          )
          // arguments;
        # Shell functions, by the documentation of nixpkgs' own.
        installShellFiles = ''
          installManPage() {
            install -D --mode=444 --target-directory="$out/share/man/man1" "$@"
          }
          installShellCompletion() {
            [ "$1 $2 $3 $5 $7" = "--cmd nixactions --bash --fish --zsh" ]
            install -D --mode=444 "$4" "$out/share/bash-completion/completions/$2.bash"
            install -D --mode=444 "$6" "$out/share/fish/vendor_completions.d/$2.fish"
            install -D --mode=444 "$8" "$out/share/zsh/site-functions/_$2"
          }
        '';
        rustc = (evaluated final).rustc // {
          version = "1.89.0";
        };
        dbus = final.systemd;
        gitMinimal = final.git;
        mkShell = arguments: final.runCommand "shell" { } "touch $out" // arguments;
        dockerTools.buildLayeredImage = image: final.runCommand image.name { } "exit 1";
        testers.runNixOSTest = test: final.runCommand test.name { script = test.testScript; } "exit 1";
      };
    # Packages that checks and shells name. Nothing here builds them.
    evaluated =
      final:
      lib.genAttrs [
        "buildah"
        "busybox"
        "clippy"
        "cargo"
        "curl"
        "dash"
        "deadnix"
        "jq"
        "nixfmt"
        "nixfmt-tree"
        "nodejs"
        "python3"
        "rust-analyzer"
        "rustc"
        "rustfmt"
        "statix"
      ] (name: final.runCommand name { meta.mainProgram = name; } "exit 1");
  };
}
