"""Makes the disk of a test's machine: Debian with the units that the NixOS module makes.

The machine's own Nix evaluates the test's configuration, in a container that is not booted. NixOS
would switch to the configuration; here its units go to /etc/systemd/system, its other files to
/etc, and /run/booted-system gets the switch-to-configuration program and the specialisations.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

from container import Container

# This repository, on this computer and in a machine.
HOST = Path(__file__).resolve().parents[2]
REPOSITORY = "/srv/nixactions"
LIB = "/srv/nixpkgs/lib"
PROGRAMS = ["nixactions", "nixactions-runner"]
# Executes what comes over the virtual console, as soon as the machine is up.
SHELL = """#!/bin/bash
exec < /dev/hvc0 > /dev/hvc0 2> /dev/ttyS0
stty raw -echo
cd
echo shell is ready
while IFS= read -r line; do eval "$line"; done
"""
SHELL_UNIT = """[Unit]
ConditionVirtualization=vm
[Service]
ExecStart=/usr/local/sbin/vm-shell
Environment=HOME=/root LANG=C.UTF-8 TERM=dumb
[Install]
WantedBy=multi-user.target
"""


class Sources:
    """What machines are made of: directories and files of this computer."""

    def __init__(self, root: Path, repository: Path, lib: Path, programs: Path) -> None:
        self.root = root
        self.programs = programs
        self.binds = [f"{repository}:{REPOSITORY}:ro", f"{lib}:{LIB}:ro"]


def prepare(
    name: str, test: Path, node: str, hosts: str, sources: Sources, changes: Path
) -> None:
    """Writes the changes to Debian's root that a machine of a test needs.

    `hosts` is the text of its /etc/hosts."""
    container = Container(f"{name}-nix", sources.root, changes, "idle", sources.binds)
    container.start()
    try:
        inside = Path(f"/proc/{container._pid}/root")
        for program in PROGRAMS:
            shutil.copy2(sources.programs / program, inside / "usr/bin" / program)
        (inside / "etc/systemd/system/vm-shell.service").write_text(SHELL_UNIT)
        (inside / "usr/local/sbin/vm-shell").write_text(SHELL)
        (inside / "usr/local/sbin/vm-shell").chmod(0o755)
        status, _ = container.run(build(test, node, hosts), 600)
        if status != 0:
            raise RuntimeError(f"{name}: the configuration of `{node}` in `{test.name}` cannot be built")
    finally:
        container.crash()


def build(test: Path, node: str, hosts: str) -> str:
    """Returns the script that builds the units of a test's machine and puts them in place."""
    expression = f"""
      let test = import {REPOSITORY}/{test.relative_to(HOST)} {{ pkgs.testers.runNixOSTest = t: t; }};
      in (import {REPOSITORY}/tests/nix/nixos.nix {{ modules = [ test.nodes.{node} ]; }}).system
    """
    return f"""
      set -euo pipefail
      export NIX_PATH=nixpkgs/lib={LIB}:nixpkgs={REPOSITORY}/tests/nix/pkgs.nix
      mkdir -p /nix/store /nix/var/nix
      nix-build --quiet --out-link /nix/system --expr '{expression}' > /dev/null
      cp --no-preserve=mode --recursive /nix/system/units/. /etc/systemd/system/
      cp --no-preserve=mode --recursive /nix/system/etc/. /etc/
      systemd-sysusers /nix/system/sysusers.conf
      mkdir -p /etc/static && printf %s {shlex.quote(hosts)} > /etc/static/hosts
      ln -sf static/hosts /etc/hosts
      rules=/nix/system/units/tmpfiles.conf
      [ ! -e $rules ] || install -D --mode=644 $rules /etc/tmpfiles.d/00-nixos.conf
      install -D --mode=644 /nix/system/polkit.rules /etc/polkit-1/rules.d/10-nixos.rules
      printf 'L /run/%s-system - - - - /nix/system\\n' booted current > /etc/tmpfiles.d/nixos.conf
      export SYSTEMD_OFFLINE=1
      systemctl enable vm-shell.service
      {{ grep --files-with-matches --recursive '^\\[Install\\]' /nix/system/units/ || true; }} \\
        | xargs --no-run-if-empty --max-args=1 basename | xargs --no-run-if-empty systemctl enable
    """


def disk(sources: Sources, changes: Path, image: Path) -> None:
    """Makes an ext4 image of Debian's root with its changes."""
    script = """
      set -eu
      mount -t tmpfs tmpfs /mnt && mkdir /mnt/root
      mount -t overlay -o "lowerdir=$0:$1" overlay /mnt/root
      truncate -s 3G "$2" && mke2fs -q -F -t ext4 -d /mnt/root "$2"
    """
    call = ["unshare", "--mount", "bash", "-c", script, str(changes / "upper")]
    subprocess.run([*call, str(sources.root), str(image)], check=True)
