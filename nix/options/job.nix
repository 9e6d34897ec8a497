# A job: steps that run one after the other in their own workspace.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
  artifact = types.record "input" (import ./artifact.nix { inherit lib types; });
in
{
  options = {
    inherit (common)
      defaults
      env
      envFrom
      retry
      timeout
      condition
      continueOnError
      properties
      credentials
      credentialsEncrypted
      ;
    executor = lib.mkOption {
      type = lib.types.nullOr types.executor;
      default = null;
      example = lib.literalExpression "executors.local { copyRepo = false; }";
      description = "Where the job runs. The default is the workflow's `executor`.";
    };
    needs = lib.mkOption {
      type = types.listOf lib.types.str;
      default = [ ];
      example = [ "build" ];
      description = ''
        Jobs that must have finished before this job starts. The name of a matrix stands for all
        jobs of the matrix.
      '';
    };
    inputs = lib.mkOption {
      type = types.listOf (
        lib.types.coercedTo lib.types.str (name: { inherit name; }) artifact
        // {
          description = "name of an artifact, or set of its name and path";
        }
      );
      default = [ ];
      example = lib.literalExpression ''[ "dist" { name = "libs"; path = "lib/"; } ]'';
      description = ''
        Artifacts of earlier jobs that this job restores before its first step. Each is a name, or a
        set of the options below.
      '';
    };
    outputs = lib.mkOption {
      type = types.attrsOf types.fileName types.artifactPath;
      default = { };
      example = {
        dist = "dist/";
      };
      description = ''
        Artifacts that the job saves when its steps are done. Each has a name, and a path relative
        to the workspace.
      '';
    };
    outputsFrom = lib.mkOption {
      type = lib.types.nullOr (types.attrsOf types.name types.variable);
      default = null;
      example = {
        version = "v\${{ steps.tag.outputs.version }}";
      };
      description = ''
        The outputs of the job by name, as texts with expressions. The default is all that its steps
        wrote to `$NIXACTIONS_OUTPUT`.
      '';
    };
    matrix = lib.mkOption {
      type = lib.types.nullOr (types.record "matrix" (import ./matrix.nix { inherit lib types; }));
      default = null;
      internal = true;
      description = "The job's matrix. `mkMatrixJobs` sets it.";
    };
    services = lib.mkOption {
      type = types.attrsOf types.serviceName (
        types.record "service" (import ./service.nix { inherit lib types; })
      );
      default = { };
      example = lib.literalExpression ''{ cache = { image = "docker://docker.io/library/memcached:1"; ports = [ 11211 ]; }; }'';
      description = ''
        Programs that run beside the steps (containers.md#services), by name. The steps start when
        all are ready, and find each by its name and at 127.0.0.1.
      '';
    };
    steps = lib.mkOption {
      type = types.steps;
      default = [ ];
      example = lib.literalExpression ''[ { bash = "make check"; deps = [ pkgs.gnumake ]; } pkgs.hello ]'';
      description = ''
        The steps of the job. Each is a set of the options below, an action of `mkAction`, or a
        package.
      '';
    };
    actions = lib.mkOption {
      type = types.steps;
      default = [ ];
      internal = true;
      description = "The older name of `steps`.";
    };
  };
}
