{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "secrets";
  env.API_TOKEN = "abc";
  # None of these is one.
  env.TOKEN_FILE = "/etc/ci/token";
  env.USE_TOKEN = true;
  env.PASSWORD = "";
  jobs.deploy = {
    env.db_password = "abc";
    steps = [
      {
        name = "push";
        bash = "git push";
        env.GIT_AUTH = "ghp_0123456789";
      }
      {
        bash = "true";
        env.AWS_SECRET_ACCESS_KEY = "abc";
      }
    ];
  };
}
