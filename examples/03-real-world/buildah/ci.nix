# A container image, built without a daemon and without root.
#
# Look at: `image` is one call of the library. Its sandbox is `relaxed`, because buildah makes
# namespaces of its own. `report` pins the image by the output `digest`. To push the image, set
# `registry = "registry.example.org/me"` instead of `push = false`, and give the run
# `--secret-env-file login.env` with REGISTRY_USERNAME and REGISTRY_PASSWORD.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "buildah";
  timeout = "30m";
  jobs = {
    check.steps = [
      {
        name = "doctype";
        bash = "grep --quiet '<!DOCTYPE html>' site/index.html";
      }
    ];
    image = nixactions.jobs.buildahBuildPush {
      image = "roman/site";
      tags = [ "1.0" ];
      buildArgs.VERSION = "1.0";
      push = false;
      needs = [ "check" ];
    };
    report = {
      needs = [ "image" ];
      steps = [
        {
          name = "pin";
          bash = ''echo "FROM roman/site@$NEEDS_IMAGE_DIGEST"'';
        }
      ];
    };
  };
}
