# A stand-in for nixpkgs' flake, by which tests override the input of that name. Beside it lie nixpkgs' `lib` and pkgs.nix, which has most
# of the packages; here are those functions that only this project's own packaging calls.
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
        # Compiles nothing: it is the program under test.
        rustPlatform.buildRustPackage =
          arguments: prev.nixactions // arguments // { inherit (prev.nixactions) name; };
        installShellFiles = null;
        dbus = final.systemd;
        gitMinimal = final.git;
        mkShell = arguments: final.runCommand "shell" { } "touch $out" // arguments;
        testers.runNixOSTest = test: final.runCommand test.name { script = test.testScript; } "exit 1";
      };
    # What checks and shells name, and nothing here builds.
    evaluated =
      final:
      lib.genAttrs [
        "buildah"
        "clippy"
        "cargo"
        "curl"
        "dash"
        "deadnix"
        "jq"
        "mmdebstrap"
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
