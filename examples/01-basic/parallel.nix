# Jobs start at once unless they need each other. Three compress the same data, and the fourth
# compares what they say.
#
# Look at: `fast`, `normal` and `best` overlap, and `compare` starts when the last of them is done.
# What a job writes to `$NIXACTIONS_OUTPUT`, those that need it find as `NEEDS_<JOB>_<KEY>`. That
# the three are alike is plain Nix: a function.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  compress = level: {
    steps = [
      {
        name = "gzip -${toString level}";
        bash = ''
          seq 1000000 | gzip -${toString level} > numbers.gz
          echo "bytes=$(stat --format %s numbers.gz)" >> "$NIXACTIONS_OUTPUT"
        '';
        deps = [ pkgs.gzip ];
      }
    ];
  };
in
nixactions.mkWorkflow {
  name = "parallel";
  # Without it as many as the machine has CPUs.
  maxParallel = 3;
  jobs = {
    fast = compress 1;
    normal = compress 6;
    best = compress 9;

    compare = {
      needs = [
        "fast"
        "normal"
        "best"
      ];
      steps = [
        {
          name = "compare";
          bash = ''
            printf '%-6s %8d bytes\n' fast "$NEEDS_FAST_BYTES" normal "$NEEDS_NORMAL_BYTES" best "$NEEDS_BEST_BYTES"
            [ "$NEEDS_BEST_BYTES" -lt "$NEEDS_FAST_BYTES" ]
          '';
        }
      ];
    };
  };
}
