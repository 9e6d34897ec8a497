# The demands of the images of workflows on a service that starts their runs, as arguments of
# sandbox.nix: it pulls and unpacks them first. A root may be an archive. In the store, its name
# tells: most roots there are directories.
{ lib }:
workflows:
let
  mayBeArchive =
    root:
    !lib.hasPrefix "${builtins.storeDir}/" root
    || builtins.match ".*[.](tar([.].*)?|t[a-z0-9]+)" root != null;
  containersOf =
    workflow:
    let
      inherit (workflow.built) plan;
      used = lib.mapAttrsToList (_: job: job.executor or null) plan.jobs;
    in
    lib.filter (executor: executor ? image || executor ? root && mayBeArchive executor.root) (
      lib.attrValues (lib.filterAttrs (name: _: lib.elem name used) (plan.executors or { }))
    );
  containers = lib.concatMap containersOf workflows;
in
{
  unpacks = containers != [ ];
  pulls = lib.any (executor: lib.hasPrefix "docker://" (executor.image.oci or "")) containers;
}
