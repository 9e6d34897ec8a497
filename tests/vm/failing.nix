# A test whose script fails.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "failing";
  nodes.machine = { };
  testScript = builtins.readFile ../../vm-tests/helpers.py + builtins.readFile ./failing.py;
}
