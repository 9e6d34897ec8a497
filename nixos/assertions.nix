# Checks that the options' types alone cannot make. Each names its option and a remedy.
{ config, lib, ... }:
let
  cfg = config.services.nixactions;
  inherit (cfg) retention;
  values = import ./values.nix { inherit lib; };
  workflows = lib.filterAttrs (_: workflow: workflow.enable) cfg.workflows;

  ofWorkflow =
    name: workflow:
    let
      option = "services.nixactions.workflows.${name}";
    in
    [
      {
        assertion = workflow.package != null || workflow.settings != null;
        message = "${option}: neither `package` nor `settings`: set `package` to the result of `mkWorkflow`, or write the workflow here, as in `settings.jobs.test.steps = [ { bash = \"make check\"; } ]`";
      }
      {
        assertion = workflow.package == null || workflow.settings == null;
        message = "${option}: both `package` and `settings`: remove one, or extend the package with its `extend`";
      }
      {
        assertion =
          workflow.package == null || !lib.isDerivation workflow.package || workflow.package ? plan;
        message = "${option}.package: `${workflow.package.name or "it"}` is not a workflow: set it to the result of `mkWorkflow`";
      }
      {
        assertion = workflow.randomizedDelay == null || workflow.schedule != [ ];
        message = "${option}.randomizedDelay: it has no effect without a `schedule`: add one, or remove it";
      }
    ]
    ++ lib.optionals (workflow.source ? git) (ofGit "${option}.source.git" workflow.source.git);

  # A secret of no use is a secret in the wrong place.
  ofGit = option: git: [
    {
      assertion = git.passwordFile == null || values.matches "https?://.*" git.url;
      message = "${option}.passwordFile: `${git.url}` takes no password: set `url` to one that begins with `https://`, or remove it";
    }
    {
      # Submodules may have other URLs.
      assertion = git.sshKeyFile == null || values.isSsh git.url || git.submodules;
      message = "${option}.sshKeyFile: `${git.url}` takes no key: set `url` to one of ssh, such as `git@example.org:project`, or remove it";
    }
  ];
in
{
  config = lib.mkIf cfg.enable {
    assertions =
      lib.concatLists (lib.mapAttrsToList ofWorkflow workflows)
      ++ lib.singleton {
        assertion =
          !retention.enable
          || retention.runs != null
          || retention.maxAge != null
          || retention.maxSize != null;
        message = "services.nixactions.retention: no bound: set `runs`, `maxAge` or `maxSize`, or `enable = false` to keep all runs";
      };
  };
}
