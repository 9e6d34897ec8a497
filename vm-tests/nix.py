# NixOS starts its daemon when a client asks for it.
machine.succeed(
    "systemctl cat nix-daemon.socket || systemd-run --unit=nix-daemon nix-daemon",
)
machine.wait_for_file("/nix/var/nix/daemon-socket/socket")
workspace = "/var/lib/nixactions/runs/builds-1/jobs/wait/work/workspace"

with subtest("a job builds with the daemon, and the garbage collector leaves the result"):
    machine.succeed("systemctl start --no-block nixactions@builds")
    machine.wait_until_succeeds(f"test -L {workspace}/result")
    made = machine.succeed(f"readlink {workspace}/result").strip()
    machine.fail(f"nix-store --delete {made}")
    release("builds-1")
    wait_for_end("builds-1")
    assert record("builds-1")["conclusion"] == "success", record("builds-1")
    assert "made" in machine.succeed("nixactions logs builds-1")

with subtest("the result stays as long as the run"):
    machine.fail(f"nix-store --delete {made}")
    machine.succeed("nixactions clean --keep=0", f"nix-store --delete {made}")

with subtest("a job does not reach the daemon unless its workflow says so"):
    machine.fail("systemctl start --wait nixactions@may-not")
    assert "daemon-socket" in machine.succeed("nixactions logs may-not-1")
    is_gone("may-not-1")
