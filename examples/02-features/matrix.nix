# One job in several forms: how long a shell takes the word `é` to be, by shell and locale.
#
# Look at: four jobs run, two at a time: bash in C and C.UTF-8, dash in C, and one that `include`
# adds. `exclude` leaves one out, and the first `include` gives bash in C.UTF-8 an answer of its
# own. `summary` needs the matrix by its name, which is all of its jobs.
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
