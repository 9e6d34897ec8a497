{ nixactions, pkgs, ... }:
nixactions.mkWorkflow {
  name = "nameless";
  jobs.test.steps = map (bash: { inherit bash; }) [
    "make check"
    "\n\n  make check  \n  make all\n"
    "echo a very long line, and no more than its beginning can be shown"
    "${pkgs.git}/bin/git status"
    "echo \"gr\u00fcn\""
    "# é\necho é\nmake"
  ];
}
