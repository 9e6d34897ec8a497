{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "secrets";
  env = {
    API_TOKEN = "abc";
    # None of these is one.
    TOKEN_FILE = "/etc/ci/token";
    USE_TOKEN = true;
    PASSWORD = "";
  };
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
