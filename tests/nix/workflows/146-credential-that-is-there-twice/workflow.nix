{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.build = {
    credentials.token = "/etc/token";
    credentialsEncrypted.token = "/etc/token.cred";
    steps = [ { bash = "true"; } ];
  };
}
