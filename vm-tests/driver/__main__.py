"""Runs NixOS tests on Debian: `python3 vm-tests/driver [--qemu] TEST...`.

A test is a file of vm-tests/: `runNixOSTest` of machines, with a script of its own. NixOS runs it
as a flake check. This driver runs the same script against Debian's systemd: in a container, or
with `--qemu` in a virtual machine. Each test can run in both, except that those in `NOT_CONTAINED`
are skipped in a container. `--qemu` without a test runs those in `VIRTUAL`.
"""

import argparse
import ast
import os
import re
import socket
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from container import Container
from debian import Sources, disk, prepare
from machine import Machine
from qemu import Qemu

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
# NixOS's driver gets these and a script as one text.
HELPERS = HERE.parent / "helpers.py"
# The tests that need a kernel or a disk of the machine's own. The others show the same in a
# container, in a tenth of the time.
VIRTUAL = {
    "bounds": "the end of a shutdown",
    "containers": "control groups of containers, mounts on a disk",
    "limits": "the cgroup controllers, the kernel's core pattern",
    "recovery": "losses of power, reboots",
    "sandbox": "disks, kernel settings, /proc of a whole machine",
    "soft-reboot": "a kernel that goes on",
}
# Of these, the tests that cannot run in a container at all.
NOT_CONTAINED = {"limits"}


def main() -> int:
    arguments = parse()
    if arguments.list:
        print("\n".join(VIRTUAL))
        return 0
    sources = Sources(arguments.root, REPOSITORY, arguments.lib, arguments.programs)
    failed = 0
    for path in arguments.tests or VIRTUAL:
        script = (REPOSITORY / path if "/" in path else HERE.parent / path).with_suffix(".py")
        test = script.stem
        if test in NOT_CONTAINED and not arguments.qemu:
            print(f"{test}: skipped: it needs a virtual machine (--qemu)", flush=True)
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=arguments.work, prefix=f"{test}-") as work:
            passed = run(test, script, Path(work), sources, arguments)
        failed += not passed
        took = time.monotonic() - started
        print(f"{test}: {'passed' if passed else 'FAILED'} after {took:.0f} s", flush=True)
    return min(failed, 1)


def parse() -> argparse.Namespace:
    """Returns the command line's arguments."""
    target = REPOSITORY / "target"
    roots = Path(os.environ.get("NIXACTIONS_TEST_ROOTS", target / "roots"))
    nixpkgs = Path(os.environ.get("NIXACTIONS_TEST_NIXPKGS", target / "nixpkgs"))
    parser = argparse.ArgumentParser(prog="driver", description=__doc__.splitlines()[0])
    parser.add_argument("--qemu", action="store_true", help="boot virtual machines")
    parser.add_argument("--root", type=Path, default=roots / "forky", help="Debian's root")
    parser.add_argument("--boot", type=Path, default=roots / "boot", help="vmlinuz and initrd.img")
    parser.add_argument("--lib", type=Path, default=nixpkgs / "lib", help="nixpkgs' lib")
    parser.add_argument("--programs", type=Path, default=target / "debug", help="the programs")
    parser.add_argument("--work", type=Path, default=target / "tmp", help="for disks, on ext4")
    parser.add_argument("--list", action="store_true", help="print the tests of `--qemu`, and end")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="a name such as module, or a path")
    arguments = parser.parse_args()
    if not arguments.tests and not arguments.qemu and not arguments.list:
        parser.error("no TEST: name one, or let `--qemu` run those that need a virtual machine")
    return arguments


def run(
    name: str, script: Path, work: Path, sources: Sources, arguments: argparse.Namespace
) -> bool:
    """Runs a test's script. Returns whether it passed."""
    machines: dict[str, Machine] = {}
    try:
        check(script)
        make(name, script.with_suffix(".nix"), work, sources, arguments, machines)
        names = {
            **machines,
            "machines": list(machines.values()),
            "start_all": lambda: [machine.start() for machine in machines.values()],
            "subtest": subtest,
        }
        for part in (HELPERS, script):
            exec(compile(part.read_text(), str(part), "exec"), names)
        return True
    except Exception:
        traceback.print_exc()
        for machine in machines.values():
            tell(machine)
        return False
    finally:
        for machine in machines.values():
            machine.crash()


def check(script: Path) -> None:
    """Refuses a second function of the same name, as the linter of the NixOS test driver does."""
    known: set[str] = set()
    for statement in ast.parse(HELPERS.read_text() + script.read_text()).body:
        if isinstance(statement, ast.FunctionDef):
            if statement.name in known:
                raise NameError(f"{script.name}: `{statement.name}` is defined twice")
            known.add(statement.name)


def make(
    name: str,
    test: Path,
    work: Path,
    sources: Sources,
    arguments: argparse.Namespace,
    machines: dict[str, Machine],
) -> None:
    """Adds a test's machines: one for each `nodes.NAME` of its file."""
    nodes = sorted(set(re.findall(r"^  nodes\.(\w+) =", test.read_text(), re.MULTILINE)))
    # As NixOS numbers them.
    addresses = {node: f"192.168.1.{number}" for number, node in enumerate(nodes, 1)}
    hosts = "127.0.0.1 localhost\n"
    if len(nodes) > 1:
        hosts += "".join(f"{address} {node}\n" for node, address in addresses.items())
    port = free_port() if len(nodes) > 1 else 0
    containers: list[Container] = []
    for node, address in addresses.items():
        host = f"nixactions-vm-{name}-{node}-{os.getpid()}"
        changes = work / node
        changes.mkdir()
        prepare(host, test, node, hosts, sources, changes)
        if arguments.qemu:
            image = work / f"{node}.img"
            disk(sources, changes, image)
            kernel, initrd = (arguments.boot / file for file in ("vmlinuz", "initrd.img"))
            machines[node] = Qemu(host, image, kernel, initrd, address, port)
        else:
            container = Container(
                host, sources.root, changes, "systemd", sources.binds, address, containers
            )
            containers.append(container)
            machines[node] = container


def free_port() -> int:
    """Returns a UDP port that no program of this computer has."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        return free.getsockname()[1]


@contextmanager
def subtest(name: str):
    """Names a part of a test."""
    started = time.monotonic()
    try:
        yield
    except Exception:
        print(f"  FAILED: {name}", flush=True)
        raise
    print(f"  ok: {name} ({time.monotonic() - started:.1f} s)", flush=True)


def tell(machine: Machine) -> None:
    """Prints the end of a machine's journal, as far as the machine still answers."""
    try:
        print(f"the journal of {machine.name}:")
        print(machine.run("journalctl --no-pager --lines=60", 60)[1], flush=True)
    except Exception as error:
        print(f"no journal: {error}", flush=True)


sys.exit(main())
