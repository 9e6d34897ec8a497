"""The machine that a test script talks to: the methods of the NixOS test driver that scripts use.

https://nixos.org/manual/nixos/stable/#ssec-machine-objects documents the methods, their arguments
and their errors. This module knows how to wait and what a failure is. It does not know how a
machine is booted, or how a command reaches it: container.py and qemu.py do.
"""

import base64
import io
import shlex
import tarfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

# The pause between two tries of a command.
PAUSE = 0.2
# The signal that the kernel sends to PID 1 when someone presses Ctrl+Alt+Delete (systemd(1)).
CTRL_ALT_DELETE = "kill -INT 1"


class CommandFailed(Exception):
    """A command of a script did not do what the script expects."""


class Machine(ABC):
    """A Debian machine with the configuration of one NixOS test."""

    # The longest wait of each method, in seconds. The NixOS test driver waits for up to 900 s.
    timeout: float

    def __init__(self, name: str) -> None:
        self.name = name

    # What the two kinds of machines bring along.

    @abstractmethod
    def start(self, allow_reboot: bool = False) -> None:
        """Boots the machine and waits until systemd is up. Does nothing if it runs.

        Reboots work with and without `allow_reboot`."""

    @abstractmethod
    def crash(self) -> None:
        """Ends the machine at once, like a loss of power. Its disk stays."""

    @abstractmethod
    def run(self, script: str, timeout: float) -> tuple[int, str]:
        """Runs a shell script as root. Returns its exit status and its standard output."""

    @abstractmethod
    def wait_for_shutdown(self) -> None:
        """Waits until the machine is off."""

    @abstractmethod
    def reboot(self) -> None:
        """Presses Ctrl+Alt+Delete, and waits until systemd is up again.

        `systemd.ctrlAltDelUnit` says what these keys do: a reboot, or a soft-reboot."""

    # The documented methods.

    def shutdown(self) -> None:
        """Shuts the machine down and waits until it is off."""
        self.execute("systemctl --no-block poweroff", check_return=False)
        self.wait_for_shutdown()

    def execute(
        self, command: str, check_return: bool = True, timeout: float | None = None
    ) -> tuple[int, str]:
        """Returns a command's exit status (-1 without `check_return`) and standard output."""
        self.start()
        status, output = self.run(f"set -euo pipefail\n{command}", timeout or self.timeout)
        return (status if check_return else -1), output

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must succeed. Returns their standard output."""
        output = ""
        for command in commands:
            status, out = self.execute(command, timeout=timeout)
            if status != 0:
                raise CommandFailed(f"{self.name}: `{command}` failed with {status}:\n{out}")
            output += out
        return output

    def fail(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must fail. Returns their standard output."""
        output = ""
        for command in commands:
            status, out = self.execute(command, timeout=timeout)
            if status == 0:
                raise CommandFailed(f"{self.name}: `{command}` succeeded:\n{out}")
            output += out
        return output

    def wait_until_succeeds(self, command: str, timeout: float | None = None) -> str:
        """Repeats a command until it succeeds. Returns its standard output."""
        return self._repeat(command, lambda status: status == 0, timeout)

    def wait_until_fails(self, command: str, timeout: float | None = None) -> str:
        """Repeats a command until it fails. Returns its standard output."""
        return self._repeat(command, lambda status: status != 0, timeout)

    def wait_for_file(self, filename: str, timeout: float | None = None) -> None:
        """Waits until a file exists."""
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: float | None = None) -> None:
        """Waits until a unit is active. Fails at once if the unit failed."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while (state := self.get_unit_property(unit, "ActiveState", user)) != "active":
            if state == "failed" or time.monotonic() > deadline:
                raise CommandFailed(f"{self.name}: unit `{unit}` is {state}, not active")
            time.sleep(PAUSE)

    def systemctl(self, query: str, user: str | None = None) -> tuple[int, str]:
        """Runs systemctl(1), as a user's own with `user`. Returns its status and output."""
        if user is None:
            return self.execute(f"systemctl {query}")
        return self.execute(f"systemctl --user --machine={shlex.quote(user)}@ {query}")

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """Returns a property of a unit as systemctl(1) prints it."""
        query = f"show --value --property={shlex.quote(property)} -- {shlex.quote(unit)}"
        return self.systemctl(query, user)[1].strip()

    def sleep(self, secs: int) -> None:
        """Waits on the machine's clock."""
        self.succeed(f"sleep {secs}")

    def copy_from_host(self, source: str, target: str) -> None:
        """Copies a file or directory of this computer into the machine."""
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w:gz") as archive:
            archive.add(Path(source), arcname=Path(target).name)
        parent = shlex.quote(str(Path(target).parent))
        text = base64.b64encode(held.getvalue()).decode()
        self.succeed(f"mkdir -p {parent}\nbase64 -d <<< {text} | tar -xzC {parent}")

    def _repeat(self, command: str, is_done, timeout: float | None) -> str:
        timeout = timeout or self.timeout
        deadline = time.monotonic() + timeout
        while True:
            status, output = self.execute(command)
            if is_done(status):
                return output
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"{self.name}: `{command}` still exits with {status} after {timeout} s:\n{output}"
                )
            time.sleep(PAUSE)
