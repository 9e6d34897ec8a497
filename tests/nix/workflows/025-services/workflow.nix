# Services of jobs, and of the jobs of a matrix.
{ nixactions, pkgs, ... }:
let
  steps = [ { bash = "true"; } ];
in
nixactions.mkWorkflow {
  name = "services";
  jobs = {
    all = {
      inherit steps;
      services = {
        db = {
          image = {
            oci = "docker://docker.io/library/postgres:17";
            digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
          };
          env.POSTGRES_PASSWORD = "x";
          properties.MemoryMax = "1G";
          ports = [ 5432 ];
          health = {
            run = [ "pg_isready" ];
            interval = 0.5;
            timeout = "10s";
            retries = 60;
          };
        };
        cache = {
          image = "/srv/images/redis.tar";
          ports = [ 6379 ];
        };
        own = {
          root = pkgs.git;
          run = [
            "server"
            "x"
          ];
          health.notify = true;
        };
        host.run = pkgs.git;
      };
    };
  }
  // nixactions.mkMatrixJobs {
    name = "test";
    matrix.os = [
      "a"
      "b"
    ];
    job = _: {
      inherit steps;
      services.db.run = [ "/bin/db" ];
    };
  };
}
