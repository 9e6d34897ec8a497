"""A machine with a kernel and a disk of its own: QEMU emulates it, without KVM.

It boots in half a minute. Its cgroup controllers, its reboots, its losses of power, its clock and
its kernel's limits are real.
"""

import base64
import socket
import subprocess
import time
from pathlib import Path

from machine import Machine

BOOT = 600
MEMORY = 1200


class Qemu(Machine):
    """A virtual machine that boots `disk`, a raw ext4 image, by a kernel and its initrd."""

    is_virtual = True
    timeout = 900

    def __init__(self, name: str, disk: Path, kernel: Path, initrd: Path) -> None:
        super().__init__(name)
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
        command += ["-m", str(MEMORY), "-nographic", "-no-reboot", "-nic", "none"]
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
        self._read_until(b"shell is ready\n", BOOT)
        state = self.run("systemctl is-system-running --wait", BOOT)[1].strip()
        if state not in ("running", "degraded"):
            raise RuntimeError(f"{self.name}: systemd is {state}")

    def crash(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._off()

    def wait_for_shutdown(self) -> None:
        self._process.wait(BOOT)
        self._off()

    def run(self, script: str, timeout: float) -> tuple[int, str]:
        text = base64.b64encode(script.encode()).decode()
        call = f"base64 -d <<< {text} > /run/shell-script; "
        call += f"timeout {timeout} bash /run/shell-script < /dev/null 2> /dev/ttyS0 | base64 -w 0; "
        call += "echo \" ${PIPESTATUS[0]} end\"\n"
        self._shell.sendall(call.encode())
        output, status, _ = self._read_until(b" end\n", timeout + 60).rsplit(b" ", 2)
        return int(status), base64.b64decode(output).decode(errors="replace")

    def _console(self) -> str:
        path = self._disk.with_suffix(".console")
        return "\n".join(path.read_text(errors="replace").splitlines()[-40:])

    def _off(self) -> None:
        self._process.wait()
        self._shell.close()
        self._process = self._shell = None

    def _read_until(self, end: bytes, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while end not in self._unread:
            self._shell.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                more = self._shell.recv(1 << 16)
            except TimeoutError:
                more = b""
            if not more:
                raise RuntimeError(f"{self.name} does not answer. Its console:\n{self._console()}")
            self._unread += more
        found, self._unread = self._unread.split(end, 1)
        return found + end
