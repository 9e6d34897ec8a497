# Checks that the options' types alone cannot make. Each names its option and a remedy.
{ config, lib, ... }:
let
  cfg = config.services.nixactions;
  inherit (cfg) retention;
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
