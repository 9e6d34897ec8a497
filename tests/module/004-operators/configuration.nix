# Users and groups without root who use the workflows.
{
  users.users."o'brien%" = { };
  users.groups.ci = { };
  services.nixactions = {
    enable = true;
    retention.enable = false;
    operators = {
      users = [ "o'brien%" ];
      groups = [
        "ci"
        "wheel"
      ];
    };
    workflows.nightly.settings.jobs.test.steps = [ { bash = "make check"; } ];
  };
}
