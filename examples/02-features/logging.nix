# Output of steps: GitHub's workflow commands, and a summary in Markdown.
#
# Look at: The lines of a group are indented. `nixactions show logging-1` lists the annotations, and
# `--summary` prints the summary. A masked value is `***` from then on. `nixactions run --output
# json` prints one JSON object a line, and `--output structured` prints fields in brackets. The
# journal has run, job and step as fields: `journalctl NIXACTIONS_JOB=sizes`.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "logging";
  jobs.sizes.steps = [
    {
      name = "largest files";
      bash = ''
        echo "::debug::$(git --version)"
        echo "::group::The largest files"
        printf '| file | bytes |\n| --- | --- |\n' >> "$NIXACTIONS_SUMMARY"
        git ls-tree -r --long HEAD | sort --reverse --numeric-sort --key 4 | sed -n 1,3p > largest
        while read -r _ _ _ size file; do
          echo "::notice file=$file::has $size bytes"
          echo "| $file | $size |" >> "$NIXACTIONS_SUMMARY"
        done < largest
        echo "::endgroup::"
        echo "what goes to standard error has a higher priority" >&2
      '';
      deps = [ pkgs.git ];
    }
    {
      name = "mask";
      bash = ''
        session=session-$RANDOM$RANDOM
        echo "::add-mask::$session"
        echo "logged in with $session"
      '';
    }
  ];
}
