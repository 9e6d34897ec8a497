# The demands of the images of workflows on a service that starts their runs, as arguments of
# sandbox.nix: it pulls and unpacks them first. A root may be an archive.
{ lib }:
workflows:
let
  containersOf =
    workflow:
    let
      inherit (workflow.built) plan;
      used = lib.mapAttrsToList (_: job: job.executor or null) plan.jobs;
    in
    lib.filter (executor: executor ? image || executor ? root) (
      lib.attrValues (lib.filterAttrs (name: _: lib.elem name used) (plan.executors or { }))
    );
  containers = lib.concatMap containersOf workflows;
in
{
  unpacks = containers != [ ];
  pulls = lib.any (executor: lib.hasPrefix "docker://" (executor.image.oci or "")) containers;
}
