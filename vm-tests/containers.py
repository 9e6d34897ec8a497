# A root file system with nothing but bash, and what it is linked with. It has a mount of its own:
# a container's root is an overlay, whose files cannot be given to another user.
machine.succeed(
    "mkdir -p /srv/root",
    "mount -t tmpfs tmpfs /srv/root",
    "echo secret > /root/private",
    """
    mkdir /srv/root/{bin,etc,usr,tmp,var,root,proc,sys,dev,run} && cd /srv/root
    bash=$(readlink -f "$(type -p bash)")
    cp --parents $bash .
    ln -s $bash bin/bash
    ldd $bash | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=.
    echo small > etc/image
    touch etc/os-release
    """,
)

with subtest("a job runs in each kind of container, and its artifact comes out of it"):
    machine.succeed("systemctl start --wait nixactions@both")
    assert set(conclusions("both-1").values()) == {"success"}, record("both-1")
    for job in ["box", "light"]:
        lines = machine.succeed(f"nixactions logs both-1 {job}")
        assert "in the image small" in lines and "hidden" in lines, lines

with subtest("no job changes the image"):
    assert machine.succeed("cat /srv/root/etc/image") == "small\n"

with subtest("a cancelled container ends, and nothing of it is left"):
    machine.succeed("systemctl start --no-block nixactions@stuck")
    wait_for_step("stuck-1", "box")
    wait_for_step("stuck-1", "light")
    machine.succeed("nixactions cancel stuck-1")
    wait_for_end("stuck-1")
    assert set(conclusions("stuck-1").values()) == {"cancelled"}, record("stuck-1")
    is_gone("stuck-1")
    is_gone("both-1")
    machine.fail("grep 'nixactions.*overlay' /proc/mounts")
