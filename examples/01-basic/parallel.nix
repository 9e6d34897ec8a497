# Jobs start at once unless they need each other. Three jobs compress the same data, and a fourth
# compares the results.
#
# Look at: `fast`, `normal` and `best` overlap. `compare` starts when the last of them is done. It
# finds the values that they wrote to `$NIXACTIONS_OUTPUT` as `NEEDS_<JOB>_<KEY>`. A plain Nix
# function makes the three jobs.
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
  # The default is the number of CPUs.
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
