{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build.steps = [ (nixactions.mkAction ({ os }: { bash = "make ${os}"; })) ];
}
