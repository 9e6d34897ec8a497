# An npm package: linted, tested, packed as for publication, and installed from that file as a user
# would.
#
# Look at: `pack` waits for `test`. `try` has only the artifact and no source, and installs the
# artifact into a project of its own.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../../.. { inherit pkgs; }).lib,
}:
let
  inherit (nixactions) actions;
in
nixactions.mkWorkflow {
  name = "node-ci";
  timeout = "30m";
  env.npm_config_update_notifier = false;
  jobs = {
    test.steps = [
      actions.npmInstall
      actions.npmLint
      actions.npmTest
    ];

    pack = {
      needs = [ "test" ];
      outputs.package = "roman-1.0.0.tgz";
      steps = [
        {
          name = "npm pack";
          bash = "npm pack";
          deps = [ pkgs.nodejs ];
        }
      ];
    };

    try = {
      needs = [ "pack" ];
      inputs = [ "package" ];
      executor = nixactions.executors.local {
        name = "empty";
        copyRepo = false;
      };
      steps = [
        {
          name = "npm install";
          bash = ''
            npm init --yes > /dev/null
            npm install --offline --no-audit --no-fund ./roman-1.0.0.tgz
            [ "$(npx --offline roman 2026)" = MMXXVI ]
            ! npx --offline roman 0 || exit 1
          '';
          deps = [ pkgs.nodejs ];
        }
      ];
    };
  };
}
