{ nixactions, ... }:
nixactions.mkWorkflow {
  name = "everywhere";
  jobs =
    # The rules of GitHub's documentation, with its own example.
    nixactions.mkMatrixJobs {
      name = "eat";
      matrix = {
        fruit = [
          "apple"
          "pear"
        ];
        animal = [
          "cat"
          "dog"
        ];
      };
      include = [
        { color = "green"; }
        {
          color = "pink";
          animal = "cat";
        }
        {
          fruit = "apple";
          shape = "circle";
        }
        { fruit = "banana"; }
        {
          fruit = "banana";
          animal = "cat";
        }
      ];
      failFast = false;
      maxParallel = 2;
      job =
        { fruit, ... }@values:
        {
          steps = [ { bash = "echo ${fruit} ${values.color or "of no color"}"; } ];
        };
    }
    // nixactions.mkMatrixJobs {
      name = "test";
      matrix = {
        os = [
          "linux"
          "bsd"
        ];
        version = [
          1
          2
          3
        ];
      };
      exclude = [
        {
          os = "bsd";
          version = 1;
        }
        { version = 3; }
      ];
      job =
        { os, version }:
        {
          needs = [ "eat" ];
          steps = [ { bash = "echo ${os} ${toString (version + 1)}"; } ];
        };
    }
    // {
      all = {
        needs = [ "test" ];
        steps = [ { bash = "echo all"; } ];
      };
    };
}
