{ nixactions, pkgs, ... }:
nixactions.mkWorkflow {
  name = "all";
  env.LEVEL = "workflow";
  envFrom = [
    [
      "/etc/ci/variables"
      "--all"
    ]
    pkgs.git
  ];
  passEnv = [ "API_URL" ];
  retry = {
    max_attempts = 2;
    backoff = "constant";
    min_time = "2s";
    max_time = "1m";
  };
  timeout = "1h30m";
  maxParallel = 4;
  concurrency = {
    group = "deploy";
    cancelInProgress = true;
  };
  executor = nixactions.executors.systemd {
    copyRepo = false;
    sandbox = "relaxed";
    properties.MemoryMax = "8G";
  };
  jobs.build = {
    condition = "test -e Makefile";
    continueOnError = true;
    env.LEVEL = "job";
    envFrom = [ pkgs.git ];
    timeout = 600;
    retry.max_attempts = 5;
    properties = {
      MemoryMax = "4G";
      Nice = 5;
    };
    credentials.token = "/etc/ci/token";
    credentialsEncrypted.key = "/etc/credstore.encrypted/key";
    outputs.dist = "dist/";
    steps = [
      {
        name = "compile";
        bash = "make";
        deps = [ pkgs.git ];
        args = [ "-j4" ];
        env.LEVEL = "step";
        envFrom = [ pkgs.git ];
        workdir = "src";
        condition = "always()";
        continueOnError = true;
        timeout = "90s";
        retry = {
          backoff = "linear";
        };
      }
    ];
  };
}
