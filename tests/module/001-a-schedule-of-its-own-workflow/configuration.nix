# Written where it is used, and run every night.
{
  services.nixactions = {
    enable = true;
    workflows.nightly = {
      resume = true;
      schedule = "02:30";
      settings.jobs.test.steps = [ { bash = "true"; } ];
    };
  };
}
