# A crate: formatted, linted, tested and built at the same time. A last job tries the program
# without source and network.
#
# Look at: The first four jobs do not need each other. `program` is an artifact of the job `build`.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../../.. { inherit pkgs; }).lib,
}:
let
  cargo = arguments: {
    steps = [
      nixactions.actions.setupRust
      {
        name = "cargo ${arguments}";
        bash = "cargo ${arguments}";
      }
    ];
  };
in
nixactions.mkWorkflow {
  name = "rust-ci";
  timeout = "1h";
  env = {
    CARGO_NET_OFFLINE = true;
    CARGO_TERM_COLOR = "never";
  };
  jobs = {
    format = cargo "fmt --check";
    lint = cargo "clippy --locked --all-targets -- --deny warnings";
    test = cargo "test --locked";
    build = cargo "build --locked --release" // {
      outputs.program = "target/release/roman";
    };

    try = {
      needs = [
        "build"
        "test"
      ];
      inputs = [ "program" ];
      executor = nixactions.executors.systemd {
        name = "empty";
        copyRepo = false;
        properties.PrivateNetwork = true;
      };
      steps = [
        {
          name = "try";
          bash = ''
            [ "$(target/release/roman 2026)" = MMXXVI ]
            ! target/release/roman 0 || exit 1
          '';
        }
      ];
    };
  };
}
