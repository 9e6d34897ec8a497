# A job: steps that run one after the other in a workspace of their own.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
  artifact = types.record "input" (import ./artifact.nix { inherit lib types; });
in
{
  options = {
    inherit (common)
      env
      envFrom
      retry
      timeout
      condition
      continueOnError
      ;
    executor = lib.mkOption {
      type = lib.types.nullOr types.executor;
      default = null;
      example = lib.literalExpression "executors.local { copyRepo = false; }";
      description = "Where it runs; the workflow's `executor` by default.";
    };
    needs = lib.mkOption {
      type = types.listOf lib.types.str;
      default = [ ];
      example = [ "build" ];
      description = "Jobs that must have finished before it starts. The name of a matrix stands for all its jobs.";
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
      description = "Artifacts of earlier jobs that are restored before the first step: names, or sets of the options below.";
    };
    outputs = lib.mkOption {
      type = types.attrsOf types.fileName types.workspacePath;
      default = { };
      example = {
        dist = "dist/";
      };
      description = "Artifacts that are saved when the steps are done: a name, and a path relative to the workspace.";
    };
    properties = lib.mkOption {
      type = lib.types.attrsOf types.variable;
      default = { };
      example = {
        MemoryMax = "4G";
      };
      description = "Properties of its unit (systemd.exec(5), systemd.resource-control(5)). [properties.md](properties.md) lists those that are allowed.";
    };
    credentials = lib.mkOption {
      type = types.attrsOf types.credentialName types.hostPath;
      default = { };
      example = {
        token = "/etc/ci/token";
      };
      description = "Files of the host that the job finds in `$CREDENTIALS_DIRECTORY`, by name.";
    };
    credentialsEncrypted = lib.mkOption {
      type = types.attrsOf types.credentialName types.hostPath;
      default = { };
      example = {
        token = "/etc/credstore.encrypted/token";
      };
      description = "As `credentials`, of files that systemd-creds(1) has encrypted.";
    };
    matrix = lib.mkOption {
      type = lib.types.nullOr (types.record "matrix" (import ./matrix.nix { inherit lib types; }));
      default = null;
      internal = true;
      description = "The matrix it belongs to, as `mkMatrixJobs` sets it.";
    };
    steps = lib.mkOption {
      type = types.steps;
      default = [ ];
      example = lib.literalExpression ''[ { bash = "make check"; deps = [ pkgs.gnumake ]; } pkgs.hello ]'';
      description = "What it does: sets of the options below, actions of `mkAction`, or packages.";
    };
    actions = lib.mkOption {
      type = types.steps;
      default = [ ];
      internal = true;
      description = "The older name of `steps`.";
    };
  };
}
