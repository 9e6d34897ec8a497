# What the functions of `executors` and `mkExecutor` take.
{ lib, types }:
let
  name =
    default:
    lib.mkOption {
      type = types.name;
      inherit default;
      example = "big";
      description = "What tells it apart: a workflow has one executor of each name, and two with different settings need two names.";
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
    description = "Properties of its jobs' units, as for a job; a job's come after them.";
  };
  hook =
    when:
    lib.mkOption {
      type = lib.types.nullOr (
        types.script
        // {
          description = "text of a script, or package";
          check = value: types.script.check value || lib.isDerivation value;
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
          throw "executors.systemd: there is no `slice`: the jobs of a run are in a slice of the run's own, by which they are counted and stopped. Limit jobs by `properties`, and all runs together by a drop-in for nixactions.slice";
      description = "Not there: see `properties`.";
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
      description = "Whether it shares the host's network, or has loopback only.";
    };
  };

  hooks.options = {
    name = lib.mkOption {
      type = types.name;
      example = "box";
      description = "What tells it apart.";
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
    executeJob = hook "runs a job's steps, which are in the JSON file `$NIXACTIONS_STEPS`. It must be there";
    cleanupJob = hook "last in each job, also after a failure, a timeout or a cancellation";
    saveArtifact = hook "saves `$NIXACTIONS_ARTIFACT`. Without it artifacts are saved from the workspace";
    restoreArtifact = hook "restores `$NIXACTIONS_ARTIFACT`. Without it artifacts are restored to the workspace";
  };
}
