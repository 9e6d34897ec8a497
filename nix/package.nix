# The program, with its manual, completions and the plan's JSON Schema.
{
  lib,
  stdenv,
  rustPlatform,
  rustc,
  installShellFiles,
  bash,
  coreutils,
  dbus,
  gitMinimal,
  systemd,
  # Whether `--manager embedded` works on machines without systemd. The package then depends on
  # systemd.
  withEmbedded ? true,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
in
# Cargo would report this late, about some crate, after compiling everything before it.
lib.throwIf (lib.versionOlder rustc.version manifest.workspace.package.rust-version)
  "nixactions needs Rust ${manifest.workspace.package.rust-version} or newer, and these packages have ${rustc.version}: take nixpkgs 25.11 or newer, or override both `rustc` and `rustPlatform`"
  rustPlatform.buildRustPackage
  {
    pname = manifest.package.name;
    inherit (manifest.workspace.package) version;

    # Only the compiled files, so that a change to documents or to the language rebuilds nothing.
    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ../Cargo.toml
        ../Cargo.lock
        ../build.rs
        ../clippy.toml
        ../crates
        ../src
        (lib.fileset.difference ../tests (
          lib.fileset.unions [
            ../tests/module
            ../tests/nix
          ]
        ))
        ../benches
        (lib.fileset.difference ../fuzz (lib.fileset.maybeMissing ../fuzz/target))
        # Tests compare these with the program.
        ../docs/plan.schema.json
        ../docs/properties.md
      ];
    };
    cargoLock.lockFile = ../Cargo.lock;
    strictDeps = true;

    # Compiled in, not set by a wrapper: systemd starts the supervisor and the jobs by the program's
    # own path. The host's programs come first, so that journalctl matches its journal.
    env.NIXACTIONS_PROGRAMS = lib.makeBinPath (
      [
        bash
        coreutils
        gitMinimal
      ]
      ++ lib.optionals withEmbedded [
        systemd
        dbus
      ]
    );

    nativeBuildInputs = [ installShellFiles ];
    # The runner is a static program. Without these archives it would be linked dynamically.
    buildInputs = lib.optionals stdenv.hostPlatform.isGnu [ stdenv.cc.libc.static ];

    # The tests that need neither root nor a systemd. tests/run runs the others, which boot
    # machines.
    checkType = "debug"; # the release build's link-time optimization would cost each test program minutes
    cargoTestFlags = [
      "--workspace"
      "--exclude=nixactions-harness"
      "--lib"
      "--bins"
      "--test=layers"
      "--test=plan_faults"
      "--test=plan_schema"
      "--test=units"
    ];
    nativeCheckInputs = [ gitMinimal ];

    postInstall = ''
      install -D --mode=444 --target-directory="$out/share/nixactions" docs/plan.schema.json
      install -D --mode=444 --target-directory="$out/lib/systemd/catalog" \
        crates/core/src/nixactions.catalog
    ''
    + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
      "$out/bin/nixactions" man --dir man
      installManPage man/*
      installShellCompletion --cmd nixactions \
        --bash <("$out/bin/nixactions" completions bash) \
        --fish <("$out/bin/nixactions" completions fish) \
        --zsh <("$out/bin/nixactions" completions zsh)
    '';

    meta = {
      inherit (manifest.package) description;
      license = lib.licenses.mit;
      platforms = lib.platforms.linux;
      mainProgram = "nixactions";
    };
  }
