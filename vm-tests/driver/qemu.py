"""A machine with a kernel and a disk of its own: QEMU emulates it, without KVM.

It boots in half a minute. Its cgroup controllers, its reboots, its losses of power, its clock and
its kernel's limits are real.
"""

import base64
import socket
import subprocess
import time
from pathlib import Path

from machine import CTRL_ALT_DELETE, Machine

BOOT = 600
MEMORY = 1200


class Qemu(Machine):
    """A virtual machine that boots `disk`, a raw ext4 image, by a kernel and its initrd.

    Machines with the same `port` share a network: a multicast group of this computer. Without a
    port, a machine has no network."""

    timeout = 900

    def __init__(
        self, name: str, disk: Path, kernel: Path, initrd: Path, address: str, port: int
    ) -> None:
        super().__init__(name)
        self._address, self._port = address, port
        self._disk, self._kernel, self._initrd = disk, kernel, initrd
        self._process: subprocess.Popen[bytes] | None = None
        self._shell: socket.socket | None = None
        self._unread = b""

    def start(self, allow_reboot: bool = False) -> None:
        if self._process is not None:
            return
        path = self._disk.with_suffix(".shell")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(BOOT)
        append = "root=/dev/vda rw console=ttyS0 panic=5 systemd.getty_auto=0"
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1"]
        command += ["-m", str(MEMORY), "-nographic", "-no-reboot"]
        command += ["-nic", self._network()]
        command += ["-kernel", str(self._kernel), "-initrd", str(self._initrd), "-append", append]
        command += ["-drive", f"file={self._disk},format=raw,if=virtio,cache=unsafe"]
        command += ["-device", "virtio-serial", "-chardev", f"socket,id=shell,path={path}"]
        command += ["-device", "virtconsole,chardev=shell"]
        with self._disk.with_suffix(".console").open("ab") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._shell, _ = listener.accept()
        listener.close()
        self._unread = b""
        self._wait_until_up()

    def crash(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._off()

    def wait_for_shutdown(self) -> None:
        self._process.wait(BOOT)
        self._off()

    def reboot(self) -> None:
        self._shell.sendall(f"{CTRL_ALT_DELETE}\n".encode())
        try:
            self._wait_until_up()
        except EOFError:
            self.wait_for_shutdown()
            self.start()

    def run(self, script: str, timeout: float) -> tuple[int, str]:
        text = base64.b64encode(script.encode()).decode()
        call = f"base64 -d <<< {text} > /run/shell-script; "
        call += f"timeout --kill-after=10 {timeout} bash /run/shell-script < /dev/null 2> /dev/ttyS0 | base64 -w 0; "
        call += "echo \" ${PIPESTATUS[0]} end\"\n"
        self._shell.sendall(call.encode())
        output, status, _ = self._read_until(b" end\n", timeout + 60).rsplit(b" ", 2)
        return int(status), base64.b64decode(output).decode(errors="replace")

    def _network(self) -> str:
        if not self._port:
            return "none"
        # Each machine needs an address of its own in the Ethernet, too.
        last = int(self._address.rpartition(".")[2])
        group = f"mcast=230.0.0.1:{self._port},localaddr=127.0.0.1"
        return f"socket,model=virtio-net-pci,mac=52:54:00:00:00:{last:02x},{group}"

    def _console(self) -> str:
        path = self._disk.with_suffix(".console")
        last = path.read_text(errors="replace").splitlines()[-40:]
        return "\n".join(["Its console:", *last])

    def _off(self) -> None:
        self._process.wait(BOOT)
        self._shell.close()
        self._process = self._shell = None

    def _wait_until_up(self) -> None:
        self._read_until(b"shell is ready\n", BOOT)
        active = "until systemctl is-active --quiet multi-user.target; do sleep 0.2; done"
        if self.run(active, BOOT)[0] != 0:
            raise RuntimeError(f"{self.name}: systemd is not up after {BOOT} s")
        if self._port:
            network = f"""
              cd /sys/class/net && device=$(ls -d e*)
              ip address add {self._address}/24 dev $device && ip link set $device up
            """
            if self.run(network, BOOT)[0] != 0:
                raise RuntimeError(f"{self.name} has no network. {self._console()}")

    def _read_until(self, end: bytes, timeout: float) -> bytes:
        """Returns what the machine's shell writes up to `end`. Raises EOFError if it went off."""
        deadline = time.monotonic() + timeout
        while end not in self._unread:
            self._shell.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                more = self._shell.recv(1 << 16)
            except TimeoutError:
                raise RuntimeError(f"{self.name} does not answer. {self._console()}") from None
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError(f"{self.name} went off. {self._console()}")
            self._unread += more
        found, self._unread = self._unread.split(end, 1)
        return found + end
