# A Python package: tested, packed into one file that can be run, and that file tried without the
# source.
#
# Look at: The log of `test` is unittest's own. `package` waits for `test`. `roman.pyz` is an
# artifact, and `try` has nothing else.
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../../.. { inherit pkgs; }).lib,
}:
nixactions.mkWorkflow {
  name = "python-ci";
  timeout = "30m";
  env.PYTHONDONTWRITEBYTECODE = 1;
  jobs = {
    test.steps = [
      {
        name = "unittest";
        bash = "python3 -W error -m unittest --verbose";
        deps = [ pkgs.python3 ];
      }
    ];

    package = {
      needs = [ "test" ];
      outputs.package = "roman.pyz";
      steps = [
        {
          name = "zipapp";
          bash = ''
            mkdir build
            cp -r roman build/
            python3 -m zipapp build --main roman.__main__:main --output roman.pyz
          '';
          deps = [ pkgs.python3 ];
        }
      ];
    };

    try = {
      needs = [ "package" ];
      inputs = [ "package" ];
      executor = nixactions.executors.local {
        name = "empty";
        copyRepo = false;
      };
      steps = [
        {
          name = "try";
          bash = ''
            [ "$(python3 roman.pyz 2026)" = MMXXVI ]
            ! python3 roman.pyz 0 || exit 1
          '';
          deps = [ pkgs.python3 ];
        }
      ];
    };
  };
}
