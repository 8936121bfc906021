"""Real daemons as processes on loopback, for the demo, the benchmarks and the tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from peerdisco.errors import PeerdiscoError, TimedOut

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 8.0
POLL_S = 0.05


class DaemonProcess:
    """One daemon, with a data directory of its own."""

    def __init__(self, root: Path, name: str, options: Sequence[str] = ()) -> None:
        self.root = root / name
        self.name = name
        self._options = tuple(options)
        self.peer_port, self.http_port = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        """The address of the client port, a value for PEERDISCO."""
        return f"{HOST}:{self.http_port}"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> Path:
        """What the daemon wrote."""
        return self.root.with_suffix(".log")

    def start(self, join: str | None = None) -> None:
        """Start the process; `wait_ready` tells when it can be used."""
        self.root.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "peerdisco",
            "--data", str(self.root), "--name", self.name,
            "--listen", f"{HOST}:{self.peer_port}", "--http", self.http,
            *self._options,
            *(("--join", "-") if join else ()),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_environment()
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:
            stdin.write(((join or "") + "\n").encode())

    def wait_ready(self, members: int = 1, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the node is ready and sees that many living members that hold data."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise PeerdiscoError(f"{self.name} ended at its start:\n{self.tail()}")
            with contextlib.suppress(OSError, ValueError):
                seen = [m for m in self._members() if m["state"] == "alive" and m["storage"]]
                if len(seen) >= members:
                    return
            time.sleep(POLL_S)  # noqa: TID251 - a client's thread
        raise TimedOut(f"{self.name} did not become ready in {timeout_s:.0f} s:\n{self.tail()}")

    def kill(self) -> None:
        """End the process as a power cut would: SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int | None:
        """End the process in order, or at once when it takes too long; its exit status."""
        if self.process is None or self.process.poll() is not None:
            return None if self.process is None else self.process.returncode
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def tail(self) -> str:
        """The last lines of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return ""

    def _members(self) -> list[dict[str, object]]:
        with urllib.request.urlopen(f"http://{self.http}/api/v1/members", timeout=2) as answer:
            members: list[dict[str, object]] = json.load(answer)["members"]
            return members


@contextlib.contextmanager
def daemons(root: Path, count: int, options: Sequence[str] = ()) -> Iterator[list[DaemonProcess]]:
    """A cluster of that many daemons, joined by token; stopped at the end."""
    nodes = [DaemonProcess(root, f"node-{number + 1}", options) for number in range(count)]
    try:
        nodes[0].start()
        nodes[0].wait_ready()
        for node in nodes[1:]:
            node.start(join_token_of(nodes[0]))
        for node in nodes:
            node.wait_ready(members=count)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def join_token_of(node: DaemonProcess) -> str:
    """A join token that the node issues."""
    request = urllib.request.Request(
        f"http://{node.http}/api/v1/join-command", method="POST", headers={"X-Peerdisco": "1"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - loopback
        return str(json.load(answer)["command"]).rsplit(" ", 1)[-1]


def free_ports(count: int) -> list[int]:
    """Ports that are free for TCP and UDP now."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket())
            tcp.bind((HOST, 0))
            port = int(tcp.getsockname()[1])
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                udp.bind((HOST, port))
                ports.append(port)
        return ports


def _environment() -> dict[str, str]:
    """The environment of a daemon that must not see the caller's own settings.

    Except for the choice of the UDP library: where aioudp was left out there is only one.
    """
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PEERDISCO") or key == "PEERDISCO_UDP"
    }
