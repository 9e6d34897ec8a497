{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "durations";
  jobs.wait.steps =
    map
      (timeout: {
        bash = "sleep infinity";
        inherit timeout;
      })
      [
        90
        0.5
        "90s"
        "05s"
        "1.5s"
        "30m"
        "1h"
        "1h30m"
        "1h0m10s"
        "100h"
      ];
}
