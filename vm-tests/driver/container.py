"""A machine in namespaces: the test harness' machine.sh boots Debian's systemd as its PID 1.

It boots in a second. It shares the kernel with this computer, so it has no cgroup controllers where
the computer has none, and its clock cannot be set.
"""

import select
import subprocess
import time
from pathlib import Path

from machine import CTRL_ALT_DELETE, Machine

SCRIPT = Path(__file__).parents[2] / "tests/harness/src/machine.sh"
ENVIRONMENT = ["HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TERM=dumb"]
BOOT = 60
SHUTDOWN = 200
PROBE = 5
# The time from SIGTERM to SIGKILL for a command that takes too long.
GRACE = 10


class Container(Machine):
    """A container whose root is `root`, and whose changes go below `changes`.

    A wire joins it to each of its `neighbours` that runs: containers of the same test."""

    timeout = 60

    def __init__(
        self,
        name: str,
        root: Path,
        changes: Path,
        init: str,
        binds: list[str],
        address: str = "",
        neighbours: list["Container"] = [],
    ) -> None:
        super().__init__(name)
        self._address, self._neighbours = address, neighbours
        self._root, self._changes, self._init, self._binds = root, changes, init, binds
        self._watcher: subprocess.Popen[str] | None = None
        self._pid = 0
        self._cgroup = ""

    def start(self, allow_reboot: bool = False) -> None:
        if self._watcher is not None:
            return
        call = ["unshare", "--mount", "bash", str(SCRIPT), "watch", self.name, str(self._root)]
        log = self._changes.with_suffix(".log")
        with log.open("ab") as stderr:
            self._watcher = subprocess.Popen(
                [*call, self._init, f"keep:{self._changes}", *self._binds],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                # Ctrl-C ends this program, which takes the machine down.
                start_new_session=True,
            )
        if not select.select([self._watcher.stdout], [], [], BOOT)[0]:
            raise RuntimeError(f"{self.name} is not set up after {BOOT} s:\n{log.read_text()}")
        answer = self._watcher.stdout.readline().split()
        if len(answer) != 2:
            raise RuntimeError(f"{self.name} cannot be set up:\n{log.read_text()}")
        self._pid, self._cgroup = int(answer[0]), answer[1]
        for neighbour in self._neighbours:
            if neighbour is not self and neighbour._watcher is not None:
                self._join(neighbour)
        if self._init == "systemd":
            self._wait_until_up()

    def crash(self) -> None:
        if self._watcher is None:
            return
        # The end of its standard input ends the script, which kills the machine.
        self._watcher.stdin.close()
        self._watcher.wait(BOOT)
        self._watcher = None

    def wait_for_shutdown(self) -> None:
        deadline = time.monotonic() + SHUTDOWN
        while not self._is_off():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: the container does not shut down")
            time.sleep(0.05)
        self.crash()

    def reboot(self) -> None:
        before = self._up_since()
        self.run(CTRL_ALT_DELETE, self.timeout)
        deadline = time.monotonic() + SHUTDOWN
        while not self._is_off():
            if self._up_since() not in (before, ""):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: the container does not reboot")
            time.sleep(0.05)
        self.crash()
        self.start()

    def run(self, script: str, timeout: float) -> tuple[int, str]:
        # A shell joins the machine's control group from outside, where its file is in sight.
        procs = f"/proc/{self._watcher.pid}/root{self._cgroup}/cgroup.procs"
        enter = ["nsenter", "--target", str(self._pid), "--all"]
        # PID 1 lacks these capabilities as well.
        bounds = "-sys_module,-sys_time,-sys_rawio,-syslog"
        inside = ["setpriv", "--pdeathsig", "KILL", "--bounding-set", bounds]
        command = ["env", "-i", "--chdir=/root", *ENVIRONMENT]
        limit = ["timeout", f"--kill-after={GRACE}", str(timeout), "bash", "-c", script]
        try:
            done = subprocess.run(
                ["sh", "-c", 'echo $$ >"$0" && exec "$@"', procs, *enter, *inside, *command, *limit],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=timeout + 2 * GRACE,
            )
        except subprocess.TimeoutExpired:
            # A process in the background still has its output, or the machine is going down.
            raise RuntimeError(f"{self.name}: no end of the output of `{script}`") from None
        return done.returncode, done.stdout.decode(errors="replace")

    def _join(self, other: "Container") -> None:
        """Makes a wire between two machines. It lasts until one of them is gone."""
        ends = [(self, other), (other, self)]
        wire = ["ip", "link", "add", f"to-{other._pid}", "type", "veth"]
        wire += ["peer", "name", f"to-{self._pid}", "netns", str(other._pid)]
        subprocess.run(["nsenter", f"--net=/proc/{self._pid}/ns/net", *wire], check=True)
        for near, far in ends:
            device = f"to-{far._pid}"
            script = f"""
              ip address add {near._address} peer {far._address} dev {device}
              ip link set {device} up
            """
            call = ["nsenter", f"--net=/proc/{near._pid}/ns/net", "sh", "-ec", script]
            subprocess.run(call, check=True)

    def _is_off(self) -> bool:
        # The script reaps PID 1 only when it ends itself.
        try:
            return "\nState:\tZ" in Path(f"/proc/{self._pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    def _up_since(self) -> str:
        """Returns the time at which PID 1 had started all services, or nothing before it has."""
        show = "systemctl show --value --property=ActiveEnterTimestampMonotonic multi-user.target"
        try:
            return self.run(f"{show} 2> /dev/null", PROBE)[1].strip().removeprefix("0")
        except RuntimeError:
            # The machine went down in the meantime, and with it what the command waited for.
            return ""

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + BOOT
        while not self._up_since():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: systemd is not up after {BOOT} s")
            time.sleep(0.02)
