# A whole pipeline, from a commit to a release: tested in several shells, packed, tried, published
# with a secret token, reported.
#
# nixactions run ci.nix --source . --input release=1.2 --input publish-to=https://…/
# --secret-env-file token.env
#
# Look at: Without `publish-to`, `publish` is skipped, and its reason says so. With it, `publish`
# tries three times, and the token is `***` in all output. Two releases never run at once: the
# newest waiting release is next. `nixactions show --summary` prints the report.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../../.. { inherit pkgs; }).lib,
}:
let
  # For jobs that must not need the source tree.
  empty = nixactions.executors.systemd {
    name = "empty";
    copyRepo = false;
  };
in
nixactions.mkWorkflow {
  name = "complete";
  timeout = "1h";
  concurrency.group = "release";
  inputs = {
    release = {
      default = "dev";
      description = "What the release is called";
    };
    publish-to = {
      default = "";
      description = "Where the package is uploaded to, a URL that ends with a slash; nowhere by default";
    };
  };

  jobs =
    nixactions.mkMatrixJobs {
      name = "test";
      matrix.shell = [
        "bash"
        "dash"
      ];
      job =
        { shell }:
        {
          timeout = "5m";
          steps = [
            {
              name = "check";
              bash = "./check ${shell}";
              deps = [ pkgs.${shell} ];
            }
          ];
        };
    }
    // {
      package = {
        needs = [ "test" ];
        outputs.package = "dist/";
        steps = [
          {
            name = "pack";
            # The same bytes at any time and for any user.
            bash = ''
              mkdir dist
              name=roman-$INPUT_RELEASE.tar.gz
              tar --sort name --mtime @0 --owner 0 --group 0 --numeric-owner --create roman | gzip --no-name > "dist/$name"
              echo "name=$name" >> "$NIXACTIONS_OUTPUT"
              echo "sha256=$(sha256sum < "dist/$name" | cut -d ' ' -f 1)" >> "$NIXACTIONS_OUTPUT"
            '';
            deps = [
              pkgs.gnutar
              pkgs.gzip
            ];
          }
        ];
      };

      try = {
        needs = [ "package" ];
        inputs = [ "package" ];
        executor = empty;
        properties.PrivateNetwork = true;
        steps = [
          {
            name = "try";
            bash = ''
              tar --extract --gzip --file "dist/$NEEDS_PACKAGE_NAME"
              [ "$(./roman 2026)" = MMXXVI ]
            '';
            deps = [
              pkgs.gnutar
              pkgs.gzip
            ];
          }
        ];
      };

      publish = {
        needs = [
          "package"
          "try"
        ];
        inputs = [ "package" ];
        executor = empty;
        condition = ''[ -n "$INPUT_PUBLISH_TO" ]'';
        retry = {
          max_attempts = 3;
          min_time = "1s";
        };
        steps = [
          {
            name = "upload";
            # Not on a command line, which everybody can read.
            bash = ''
              curl --fail --silent --show-error --header @- --upload-file "dist/$NEEDS_PACKAGE_NAME" "$INPUT_PUBLISH_TO" \
                <<< "Authorization: Bearer ''${PUBLISH_TOKEN:?give it by --secret-env-file}"
            '';
            deps = [ pkgs.curl ];
          }
        ];
      };

      report = {
        needs = [
          "package"
          "publish"
        ];
        condition = "always()";
        executor = empty;
        steps = [
          {
            name = "summary";
            bash = ''
              tee "$NIXACTIONS_SUMMARY" <<END
              ## Release $INPUT_RELEASE

              - package: $NEEDS_PACKAGE_RESULT, \`''${NEEDS_PACKAGE_NAME-}\`, SHA-256 \`''${NEEDS_PACKAGE_SHA256-}\`
              - published: $NEEDS_PUBLISH_RESULT
              END
            '';
          }
        ];
      };
    };
}
