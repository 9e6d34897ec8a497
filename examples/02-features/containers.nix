# Jobs with a root file system of their own: an image of a registry, an image that Nix makes, and a
# closure of the Nix store.
#
# Look at: `digest` names the content that you trust, whatever the tag means today. `built` needs no
# registry: its image is a derivation. `closure` sees the store and nothing else: its root has one
# link, to a shell. Nix's garbage collector keeps the image of `built` and the root of `closure` as
# long as the workflow.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
  image ? "docker://docker.io/library/alpine:3",
  digest ? "sha256:a8560b36e8b8210634f77d9f7f9efd7ffa463e380b75e2e74aff4511df3ef88c",
}:
let
  inherit (nixactions.executors) oci systemd;
in
nixactions.mkWorkflow {
  name = "containers";
  jobs = {
    registry = {
      executor = oci {
        name = "registry";
        image = {
          oci = image;
          inherit digest;
        };
      };
      steps = [
        {
          name = "look";
          bash = "ls /bin/busybox";
        }
      ];
    };

    built = {
      executor = oci {
        name = "built";
        image = pkgs.dockerTools.buildLayeredImage {
          name = "tools";
          contents = [ pkgs.busybox ];
          config.Env = [ "GREETING=hello" ];
        };
      };
      steps = [
        {
          name = "greet";
          bash = ''
            echo "$GREETING from an image that Nix made"
            [ ! -e /home ]
          '';
        }
      ];
    };

    closure = {
      executor = systemd {
        name = "closure";
        root = pkgs.runCommand "root" { } ''
          mkdir -p "$out/bin"
          ln -s ${pkgs.busybox}/bin/sh "$out/bin/sh"
        '';
      };
      steps = [
        {
          name = "look";
          deps = [ pkgs.busybox ];
          bash = ''
            echo "the shell is $(readlink /bin/sh)"
            [ ! -e /usr/bin ]
          '';
        }
      ];
    };
  };
}
