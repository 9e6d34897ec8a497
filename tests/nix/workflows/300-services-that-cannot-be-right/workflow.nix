{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "ci";
  jobs.a = {
    steps = [ { bash = "true"; } ];
    services = {
      none = { };
      two = {
        root = "/srv/root";
        image = "/srv/image.tar";
      };
      neither = {
        run = [ "x" ];
        health = { };
      };
      both = {
        run = [ "x" ];
        health = {
          run = [ "y" ];
          notify = true;
        };
      };
    };
  };
}
