# One job in several forms: the length of the word `é` by shell and locale.
#
# Look at: Four jobs run, two at a time: bash in C and C.UTF-8, dash in C, and one that `include`
# adds. `exclude` removes one, and the first `include` gives bash in C.UTF-8 a value of its own.
# `summary` needs all jobs of the matrix by the name of the matrix.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "matrix";
  jobs =
    nixactions.mkMatrixJobs {
      name = "length";
      matrix = {
        shell = [
          "bash"
          "dash"
        ];
        locale = [
          "C"
          "C.UTF-8"
        ];
      };
      exclude = [
        {
          shell = "dash";
          locale = "C.UTF-8";
        }
      ];
      include = [
        {
          shell = "bash";
          locale = "C.UTF-8";
          expected = 1;
        }
        {
          shell = "dash";
          locale = "POSIX";
        }
      ];
      failFast = false;
      maxParallel = 2;
      job =
        {
          shell,
          locale,
          expected ? 2,
        }:
        {
          env.LC_ALL = locale;
          steps = [
            {
              name = "length in ${shell}";
              bash = ''
                length=$(${shell} -c "word=é; echo \''${#word}")
                echo "$MATRIX_SHELL takes é for $length characters in $MATRIX_LOCALE"
                [ "$length" = ${toString expected} ]
              '';
              deps = [ pkgs.${shell} ];
            }
          ];
        };
    }
    // {
      summary = {
        needs = [ "length" ];
        condition = "always()";
        steps = [
          {
            name = "results";
            bash = ''jq --raw-output 'to_entries[] | "\(.key): \(.value.result)"' "$NIXACTIONS_NEEDS"'';
            deps = [ pkgs.jq ];
          }
        ];
      };
    };
}
