"""Real daemons as processes on loopback, for the demo, the benchmarks and the tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from peerdisco.errors import PeerdiscoError, TimedOut
from peerdisco.host.ports import free_ports

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
POLL_S = 0.05


class DaemonProcess:
    """One daemon, with a data directory of its own."""

    def __init__(self, root: Path, name: str, options: Sequence[str] = ()) -> None:
        self.root = root / name
        self.name = name
        self._options = tuple(options)
        self.peer_port, self.http_port = free_ports(HOST, 2)
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

    def is_ready(self, members: int = 1) -> bool:
        """Whether it sees that many living members that hold data. PeerdiscoError when it ended."""
        if self.process is not None and self.process.poll() is not None:
            raise PeerdiscoError(f"{self.name} ended at its start:\n{self.tail()}")
        with contextlib.suppress(OSError, ValueError):
            seen = [m for m in self._members() if m["state"] == "alive" and m["storage"]]
            return len(seen) >= members
        return False

    def wait_ready(self, members: int = 1, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it is ready: PeerdiscoError when it ended, TimedOut with its last lines."""
        _wait_all_ready([self], members, timeout_s)

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
        _wait_all_ready(nodes, count, START_TIMEOUT_S)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def _wait_all_ready(nodes: Sequence[DaemonProcess], members: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    waiting = list(nodes)
    while waiting := [node for node in waiting if not node.is_ready(members)]:
        if time.monotonic() > deadline:
            tails = "\n".join(f"{node.name}:\n{node.tail()}" for node in nodes)
            raise TimedOut(f"not ready in {timeout_s:.0f} s: {waiting[0].name}\n{tails}")
        time.sleep(POLL_S)  # noqa: TID251 - a client's thread


def join_token_of(node: DaemonProcess) -> str:
    """A join token that the node issues."""
    request = urllib.request.Request(
        f"http://{node.http}/api/v1/join-command", method="POST", headers={"X-Peerdisco": "1"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - loopback
        return str(json.load(answer)["command"]).rsplit(" ", 1)[-1]


def _environment() -> dict[str, str]:
    """The environment of a daemon that must not see the caller's own settings.

    Except for the choice of the UDP library: where aioudp was left out there is only one.
    """
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PEERDISCO") or key == "PEERDISCO_UDP"
    }
