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
  nix = lib.mkOption {
    type = lib.types.bool;
    default = false;
    example = true;
    description = ''
      Whether the jobs, which are on the host, can build with its Nix daemon. Nix's garbage collector
      keeps the results as long as the run.
    '';
  };
  # The settings of jobs in a root file system of their own.
  root = lib.mkOption {
    type = lib.types.nullOr (lib.types.either types.package types.rootPath);
    default = null;
    example = lib.literalExpression "pkgs.callPackage ./rootfs.nix { }";
    description = ''
      The root file system of the jobs: a derivation, or the path of a directory, a tar archive or a
      disk image. It is instead of `image`.
    '';
  };
  imageOptions = types.record "image" (import ./image.nix { inherit lib types; });
  imageType = lib.mkOptionType {
    name = "image";
    description = "${types.imageSource.description}; or a set of options";
    check = value: types.imageSource.check value || imageOptions.check value;
    merge =
      loc: defs:
      if lib.all (definition: types.imageSource.check definition.value) defs then
        {
          oci = types.imageSource.merge loc defs;
          digest = null;
        }
      else
        imageOptions.merge loc defs;
  };
  image = lib.mkOption {
    type = lib.types.nullOr imageType;
    default = null;
    example = "docker://docker.io/library/alpine:3";
    description = ''
      The image that holds the root file system of the jobs: an archive, or a reference to a
      registry. It is instead of `root`. A set of the options below also gives its digest.
    '';
  };
  imageUser = lib.mkOption {
    type = lib.types.bool;
    default = false;
    example = true;
    description = "Whether the jobs have the user and the working directory of the image.";
  };
  mode = lib.mkOption {
    type = lib.types.enum [
      "isolated"
      "shared"
    ];
    default = "isolated";
    example = "shared";
    description = "Whether each job has a container of its own, or all jobs of a run share one.";
  };
  privateUsers = lib.mkOption {
    type = lib.types.bool;
    default = true;
    example = false;
    description = ''
      Whether the users in the root file system are other users than those of the host. Then root in
      it is nobody on the host.
    '';
  };
  capabilities = lib.mkOption {
    type = types.listOf types.capability;
    default = [ ];
    example = [ "CAP_SYS_ADMIN" ];
    description = "Capabilities that the jobs have (capabilities(7)).";
  };
  bind = lib.mkOption {
    type = types.listOf (types.record "bind" (import ./bind.nix { inherit lib types; }));
    default = [ ];
    example = [
      {
        source = "/srv/cache";
        target = "/cache";
      }
    ];
    description = "Files and directories of the host that the jobs see.";
  };
  env = lib.mkOption {
    type = types.variables;
    default = { };
    example = {
      LANG = "C.UTF-8";
    };
    description = "Variables of the jobs' steps. Those of the workflow come after them.";
  };
  network =
    kinds:
    lib.mkOption {
      type = lib.types.enum kinds;
      default = "host";
      example = "private";
      description = "The network of the jobs: the host's, or the loopback interface only${lib.optionalString (lib.elem "veth" kinds) ", or with `veth` a link to the host"}.";
    };
  container = {
    inherit
      root
      image
      imageUser
      mode
      privateUsers
      capabilities
      bind
      env
      ;
  };
  nspawn = container // {
    inherit copyRepo properties;
    network = network [
      "host"
      "private"
      "veth"
    ];
  };
  # Options of NixActions' bash compiler that have no counterpart.
  missing =
    executor: option: instead:
    lib.mkOption {
      type = lib.types.raw;
      internal = true;
      default = null;
      apply =
        value: if value == null then null else throw "${executor}: there is no `${option}`: ${instead}";
      description = "There is no such option: ${instead}.";
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

  systemd.options = container // {
    name = name "systemd";
    inherit copyRepo nix properties;
    network = network [
      "host"
      "private"
    ];
    sandbox = lib.mkOption {
      type = lib.types.nullOr types.sandbox;
      default = null;
      defaultText = lib.literalMD "the workflow's `sandbox`";
      example = "none";
      description = "How much of the host a job sees (sandbox.md).";
    };
    slice =
      missing "executors.systemd" "slice"
        "each run has a slice of its own, by which nixactions counts and stops its jobs. Limit jobs by `properties`, and all runs together by a drop-in for nixactions.slice";
  };

  nspawn.options = nspawn // {
    name = name "nspawn";
  };

  oci.options = {
    name = name "oci";
    inherit (nspawn)
      bind
      capabilities
      copyRepo
      imageUser
      mode
      network
      privateUsers
      properties
      ;
    image = lib.mkOption {
      type = imageType;
      inherit (image) example;
      description = ''
        The image: an archive, or a reference to a registry. A set of the options below also gives
        its digest.
      '';
    };
    extraMounts = lib.mkOption {
      type = types.listOf types.mount;
      default = [ ];
      example = [ "/data:/data:ro" ];
      description = "Another way to write `bind`: `source:target`, and `:ro` for a read-only one.";
    };
    containerEnv = env;
    extraPackages =
      missing "executors.oci" "extraPackages"
        "name packages in the `deps` of steps, which find the store in the container";
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
