# `nix run .#ci` runs this workflow: two jobs at the same time, then one that needs both.
{ pkgs, nixactions }:
nixactions.mkWorkflow {
  name = "ci";
  jobs = {
    build = {
      outputs.greeting = "greeting";
      steps = [
        {
          name = "write";
          bash = "echo 'Hello from nixactions' > greeting";
        }
      ];
    };

    lint.steps = [
      {
        name = "no tabs in Nix";
        deps = [ pkgs.gnugrep ];
        bash = ''
          if grep --recursive --line-number --include='*.nix' --perl-regexp '\t' .; then
            exit 1
          fi
        '';
      }
    ];

    report = {
      needs = [
        "build"
        "lint"
      ];
      inputs = [ "greeting" ];
      steps = [
        {
          name = "read";
          bash = "cat greeting";
        }
      ];
    };
  };
}
