with subtest("a workflow switches the machine to a configuration that changes this workflow"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-1")
    machine.succeed("systemctl start --wait nixactions@deploy")
    assert conclusions("deploy-1") == {"switch": "success", "report": "success"}, record("deploy-1")
    lines = machine.succeed("nixactions logs deploy-1")
    assert "the job goes on after the switch" in lines and "deployed" in lines, lines
    is_gone_but_for_long = "nixactions-deploy-1*"
    machine.fail(f"systemctl list-units --all --plain --no-legend '{is_gone_but_for_long}' | grep .")

with subtest("the new configuration is there"):
    machine.succeed("systemctl start --wait nixactions@added")
    machine.succeed("systemctl start --wait nixactions@deploy")
    assert "the next deploy" in machine.succeed("nixactions logs deploy-2")

with subtest("a run from before the upgrade of nixactions goes on, also after its supervisor's death"):
    machine.succeed("systemctl is-active nixactions@long.service nixactions-long-1.service")
    machine.succeed("systemctl kill --signal=KILL nixactions-long-1.service")
    machine.wait_until_succeeds(
        "[ $(grep -c supervisorStarted /var/lib/nixactions/runs/long-1/events.jsonl) = 2 ]"
    )
    release("long-1")
    wait_for_end("long-1")
    assert record("long-1")["conclusion"] == "success"
    is_gone("long-1")

with subtest("the new program reads the runs of the old one, and runs the changed workflow"):
    machine.wait_until_fails("systemctl is-active nixactions@long")
    machine.succeed("systemctl start --wait nixactions@long")
    assert conclusions("long-2") == {"other": "success"}, record("long-2")
    assert "long-1" in machine.succeed("nixactions list")

with subtest("a run goes on when the machine goes back to the configuration before its workflow"):
    machine.succeed("systemctl start --no-block nixactions@later")
    wait_for_step("later-1")
    machine.succeed("/run/booted-system/bin/switch-to-configuration switch")
    machine.succeed("systemctl is-active nixactions-later-1.service")
    machine.fail("[ -e /etc/systemd/system/nixactions@later.service ]")
    release("later-1")
    wait_for_end("later-1")
    assert record("later-1")["conclusion"] == "success"
    is_gone("later-1")

with subtest("the workflows are those of before"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-3")
    release("long-3")
    wait_for_end("long-3")
    assert conclusions("long-3") == {"wait": "success"}, record("long-3")
