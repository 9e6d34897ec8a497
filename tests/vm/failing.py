with subtest("a command that succeeds where it should fail"):
    machine.fail("true")
