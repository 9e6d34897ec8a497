# services.nixactions.workflows.<name>.*
{ lib, nixactions }:
{ name, config, ... }:
let
  workflow = import ../nix/options/workflow.nix {
    inherit lib;
    inherit (nixactions) executors;
    types = import ../nix/types.nix { inherit lib; };
  };
in
{
  options = {
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      example = lib.literalExpression "inputs.project.packages.x86_64-linux.ci";
      description = "The workflow, as `mkWorkflow` returns it. It has its own name, after which its runs are called.";
    };

    settings = lib.mkOption {
      type = lib.types.nullOr (
        lib.types.submodule [
          workflow
          { name = lib.mkDefault name; }
        ]
      );
      default = null;
      example = lib.literalExpression ''
        {
          jobs.test.steps = [ { bash = "make check"; deps = [ pkgs.gnumake ]; } ];
        }
      '';
      description = ''
        The workflow, written here in the place of a `package`: what `mkWorkflow` takes. Several modules may add to it.
      '';
    };

    schedule = lib.mkOption {
      type = lib.types.coercedTo lib.types.nonEmptyStr lib.singleton (
        lib.types.listOf lib.types.nonEmptyStr
      );
      default = [ ];
      example = [
        "daily"
        "Mon..Fri *-*-* 09..17:00"
      ];
      description = ''
        When it is run: one calendar event or several, see {manpage}`systemd.time(7)`. What was missed while the machine was off is made up
        for, once. When a run still goes on, no other is started. Without a schedule it is run by `systemctl start` alone.
      '';
    };

    source = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/srv/project";
      description = ''
        The directory of whose contents each job gets a copy; of a git repository, what git would not ignore. Without it, jobs
        start in an empty workspace.
      '';
    };

    arguments = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [
        "--input=release=nightly"
        "--secret-env-file=/run/secrets/ci.env"
      ];
      description = ''
        More arguments of `nixactions run`, see {manpage}`nixactions-run(1)`. They can be read by everybody: secrets are given by file.
      '';
    };

    # What is run, whichever way it was given.
    built = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      internal = true;
      readOnly = true;
      default =
        if config.package != null then
          config.package
        else if config.settings != null then
          nixactions.mkWorkflow config.settings
        else
          null;
      description = "The workflow's derivation.";
    };
  };
}
