{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  envFrom = [ "/etc/ci/secrets.env" ];
  jobs.build.steps = [ { bash = "true"; } ];
}
