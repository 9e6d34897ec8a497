{ nixactions, pkgs, ... }:
nixactions.mkWorkflow {
  name = "ci";
  defaults = {
    shell = "sh";
    workdir = "of-workflow";
  };
  jobs = {
    first = {
      defaults.workdir = "packages/\${{ env.NAME }}";
      steps = [
        { script = "echo by sh"; }
        {
          name = "own";
          shell = "bash";
          bash = "[[ a == a ]]";
          workdir = ".";
          post = {
            name = "clean";
            script = "echo $0";
            shell = [
              "/bin/bash"
              "{0}"
            ];
            env.LEVEL = 3;
            timeout = "1m";
            continueOnError = true;
            workdir = "\${{ nixactions.workspace }}/sub";
          };
        }
        {
          name = "package";
          package = pkgs.git;
          post.package = pkgs.git;
        }
        # `defaults` do not reach actions.
        (nixactions.mkAction {
          name = "action";
          bash = "[[ a == a ]]";
          post.bash = "[[ b == b ]]";
        })
      ];
    };
    second.steps = [
      {
        name = "shell that is a package";
        shell = pkgs.bash;
        script = "true";
      }
      {
        name = "list with a package";
        shell = [
          pkgs.bash
          "--posix"
          "{0}"
        ];
        script = "true";
        deps = [ pkgs.git ];
        args = [ "a" ];
      }
      {
        name = "program of the host";
        shell = [
          "perl"
          "-w"
          "{0}"
        ];
        script = "print 1";
      }
    ];
  };
}
