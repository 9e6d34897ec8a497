# The arguments of the functions in `executors`, and of `mkExecutor`.
{ lib, types }:
let
  name =
    default:
    lib.mkOption {
      type = types.name;
      inherit default;
      example = "big";
      description = "The executor's name. Two executors with different settings need two names.";
    };
  copyRepo = lib.mkOption {
    type = lib.types.bool;
    default = true;
    example = false;
    description = "Whether the source tree is in each job's workspace.";
  };
  properties = lib.mkOption {
    type = lib.types.attrsOf types.variable;
    default = { };
    example = {
      MemoryMax = "4G";
    };
    description = ''
      Unit properties of the executor's jobs. The properties of a job come after them.
    '';
  };
  hook =
    when:
    lib.mkOption {
      type = lib.types.nullOr (
        types.script
        // {
          description = "text of a script, package, or function to a text";
          check = value: types.script.check value || lib.isDerivation value || lib.isFunction value;
        }
      );
      default = null;
      example = "rsync -a . builder:work/";
      description = "Bash, or a package with a main program: ${when}.";
    };
in
{
  local.options = {
    name = name "local";
    inherit copyRepo;
  };

  systemd.options = {
    name = name "systemd";
    inherit copyRepo properties;
    sandbox = lib.mkOption {
      type = lib.types.enum [
        "strict"
        "relaxed"
        "none"
      ];
      default = "strict";
      example = "none";
      description = "How much of the host a job sees ([sandbox.md](sandbox.md)).";
    };
    slice = lib.mkOption {
      type = lib.types.raw;
      internal = true;
      default = null;
      apply =
        slice:
        if slice == null then
          null
        else
          throw "executors.systemd: there is no `slice`: each run has a slice of its own, by which nixactions counts and stops its jobs. Limit jobs by `properties`, and all runs together by a drop-in for nixactions.slice";
      description = "There is no such option. Use `properties`.";
    };
  };

  nspawn.options = {
    name = name "nspawn";
    inherit copyRepo properties;
    root = lib.mkOption {
      type = lib.types.either types.package types.rootPath;
      example = lib.literalExpression "pkgs.callPackage ./rootfs.nix { }";
      description = "The container's root file system: a derivation, or a directory of the host.";
    };
    network = lib.mkOption {
      type = lib.types.enum [
        "host"
        "private"
      ];
      default = "host";
      example = "private";
      description = ''
        Whether the container shares the host's network, or has the loopback interface only.
      '';
    };
  };

  hooks.options = {
    name = lib.mkOption {
      type = types.name;
      example = "box";
      description = "The executor's name.";
    };
    inherit copyRepo;
    deps = lib.mkOption {
      type = types.listOf types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.rsync pkgs.openssh ]";
      description = "Packages whose programs the hooks find first in their `PATH`.";
    };
    setupWorkspace = hook "once in a run, before the executor's first job";
    cleanupWorkspace = hook "once in a run, after its last job, also after a failure or a cancellation";
    setupJob = hook "first in each job";
    executeJob = hook "runs a job's steps, which are in the JSON file `$NIXACTIONS_STEPS`. Required";
    cleanupJob = hook "last in each job, also after a failure, a timeout or a cancellation";
    saveArtifact = hook "saves `$NIXACTIONS_ARTIFACT`. Without this hook, artifacts are saved from the workspace";
    restoreArtifact = hook "restores `$NIXACTIONS_ARTIFACT`. Without this hook, artifacts are restored to the workspace";
  };
}
