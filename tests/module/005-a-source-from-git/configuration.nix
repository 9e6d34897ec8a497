# A repository that is fetched before each run, with all its options.
{
  services.nixactions = {
    enable = true;
    retention.enable = false;
    workflows.mirror = {
      source.git = {
        url = "https://git.example.org/100%/project.git";
        ref = "release/1.0";
        submodules = true;
        username = "x-access-token";
        passwordFile = "/run/secrets/git-token";
      };
      settings.jobs.test.steps = [ { bash = "make check"; } ];
    };
  };
}
