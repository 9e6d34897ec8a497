# A workflow of a project's own, several calendar events, and arguments with what systemd would
# expand.
{ config, ... }:
{
  services.nixactions = {
    enable = true;
    workflows.release = {
      package = config.lib.nixactions.mkWorkflow {
        name = "publish";
        jobs.publish.steps = [ { bash = "true"; } ];
      };
      schedule = [
        "Mon..Fri 09:00"
        "Sun 12:00"
      ];
      source = "/srv/50% done";
      arguments = [
        "--input=price=$5 \"net\""
        "--secret-env-file=/run/secrets/ci.env"
      ];
    };
  };
}
