# Files that one job leaves for another. A job saves its `outputs` when its steps are done, and
# restores its `inputs` before its first step.
#
# Look at: `verify` has no copy of the repository, only the artifact. Afterwards, `nixactions show
# artifacts-1` prints the place of the artifact.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "artifacts";
  jobs = {
    pack = {
      outputs.source = "dist/";
      steps = [
        {
          name = "pack";
          bash = ''
            mkdir dist
            git archive HEAD | gzip > dist/source.tar.gz
          '';
          deps = [
            pkgs.git
            pkgs.gzip
          ];
        }
        {
          name = "checksum";
          workdir = "dist";
          bash = "sha256sum source.tar.gz > SHA256SUMS";
        }
      ];
    };

    verify = {
      needs = [ "pack" ];
      inputs = [ "source" ];
      executor = nixactions.executors.local {
        name = "empty";
        copyRepo = false;
      };
      steps = [
        {
          name = "checksum";
          workdir = "dist";
          bash = "sha256sum --check SHA256SUMS";
        }
        {
          name = "unpack";
          bash = ''
            [ ! -e .git ]
            tar --extract --gzip --verbose --file dist/source.tar.gz
          '';
          deps = [
            pkgs.gnutar
            pkgs.gzip
          ];
        }
      ];
    };
  };
}
