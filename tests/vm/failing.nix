# A test whose script fails.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "failing";
  nodes.machine = { };
  testScript = builtins.readFile ./failing.py;
}
