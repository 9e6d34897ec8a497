# Whether workflows have images, which must be unpacked before a run, and images of registries,
# which must be pulled. A root may be an archive. In the store, its name tells: most roots there are
# directories.
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
      jobs = lib.attrValues plan.jobs;
      used = map (job: job.executor or null) jobs;
      executors = lib.filterAttrs (name: _: lib.elem name used) (plan.executors or { });
      services = map (job: lib.attrValues (job.services or { })) jobs;
    in
    lib.filter (it: it ? image || it ? root && mayBeArchive it.root) (
      lib.attrValues executors ++ lib.concatLists services
    );
  containers = lib.concatMap containersOf workflows;
in
{
  unpacks = containers != [ ];
  pulls = lib.any (it: lib.hasPrefix "docker://" (it.image.oci or "")) containers;
}
