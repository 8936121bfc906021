"""One real daemon on one host: started, killed, stopped for a while, its disk unplugged.

The host is a network namespace with an address of its own, or this machine's loopback; the data
directory is on a file system that can lose power, or an ordinary one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec

from peerdisco.addresses import Address, format_address
from peerdisco.client.connection import NETWORK_ERRORS, Connection
from peerdisco.host.machine import host_machine
from peerdisco.host.ports import free_ports
from peerdisco.identity import save_secret
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import DEFAULT_HTTP_PORT, DEFAULT_PEER_PORT
from peerdisco.startup import claimed
from peerdisco_sim.real.namespaces import Wire
from peerdisco_sim.real.power import PowerDisk

T = TypeVar("T")

SLOTS = 2
STOP_S_MAX = 8.0
ASK_S_MAX = 1.0
TAIL_LINES = 12
TRACEBACK_CHARACTERS_MAX = 300
LOOPBACK = "127.0.0.1"


class Daemon:
    """One node of a real cluster.

    Args:
        name: "n1", as in schedules.
        root: A directory of the run.
        wire: Its host; None for loopback.
        disk: Its disk; None for an ordinary directory.
    """

    def __init__(self, name: str, root: Path, wire: Wire | None, disk: PowerDisk | None) -> None:
        self.name = name
        self.wire = wire
        self.disk = disk
        self.data = disk.directory if disk is not None else root / name
        self.log = root / f"{name}.log"
        self.is_paused = False
        self.is_powered = True
        self.born = time.monotonic()
        peer, http = (
            (DEFAULT_PEER_PORT, DEFAULT_HTTP_PORT) if wire is not None else free_ports(LOOPBACK, 2)
        )
        host = wire.address if wire is not None else LOOPBACK
        self.peer_address: Address = (host, peer)
        self.http_address: Address = (host, http)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process lives, stopped or not."""
        return self._process is not None and self._process.poll() is None

    def prepare(self, secret: ClusterSecret) -> None:
        """Make the data directory belong to the cluster."""

        async def save() -> None:
            with host_machine(self.data) as machine:
                await save_secret(machine.disk, secret)

        with claimed(self.data):
            asyncio.run(save())

    def start(self, token: str | None = None) -> None:
        """Start the process; with a token it joins through the addresses in it."""
        assert not self.is_running, f"{self.name} runs already"
        self.is_paused = False
        command = [
            *(self.wire.enter() if self.wire is not None else ()),
            sys.executable, "-m", "peerdisco",
            "--data", str(self.data), "--name", self.name, "--slots", str(SLOTS),
            "--listen", format_address(self.peer_address),
            "--http", format_address(self.http_address),
            *(("--join", "-") if token else ()),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the play, which then ends its daemons
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(f"{token or ''}\n".encode())

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM: it says goodbye and ends."""
        self.stop()

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT. Idempotent."""
        if not self.is_paused:
            return
        self.is_paused = False
        self._signal(signal.SIGCONT)

    def cut_power(self) -> None:
        """Silence first, as no kernel is left to reset connections; then process and disk go."""
        assert self.disk is not None
        if not self.is_powered:
            return
        self.is_powered = False
        if self.wire is not None:
            self.wire.unplug()
        if self._process is not None:
            self._process.kill()
        self.disk.cut()
        if self._process is not None:
            self._process.wait()
        if self.wire is not None:
            self.wire.kill_all()
        self.disk.unmount()

    def restart(self) -> None:
        """Switch on what is off, and start the process unless it runs."""
        self.resume()
        if not self.is_powered:
            assert self.disk is not None
            self.disk.mount()
            self.is_powered = True
            if self.wire is not None:
                self.wire.plug()
        if not self.is_running:
            self.start()

    def stop(self) -> bool:
        """End it in order; whether it ended by itself, and with status 0."""
        if self._process is None or not self.is_running:
            return True
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S_MAX) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def close(self) -> None:
        """Leave nothing behind. Idempotent."""
        self.kill()
        if self.wire is not None:
            self.wire.kill_all()
        if self.disk is not None:
            self.disk.close()
        else:
            shutil.rmtree(self.data, ignore_errors=True)

    def ask(self, path: str, answer: type[T], context: ssl.SSLContext | None, token: str) -> T:
        """What this node, and no other, answers to a GET at once. Raises OSError else."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection = Connection(self.http_address, context)
        try:
            response = connection.exchange("GET", path, b"", headers, ASK_S_MAX)
            body = response.read()
            if response.status != HTTPStatus.OK:
                raise ConnectionError(f"{self.name} answers {response.status}")
            return msgspec.json.decode(body, type=answer)
        except (*NETWORK_ERRORS, msgspec.MsgspecError) as error:
            raise ConnectionError(f"{self.name}: {error}") from error
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        if self._process is None:
            return []
        try:
            text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    def tail(self) -> str:
        """The last lines of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        return ""

    def tracebacks(self) -> list[str]:
        """Unhandled exceptions in the log, each with where it arose."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return []
        found = []
        for index, line in enumerate(lines):
            if not line.startswith("Traceback (most recent call last):"):
                continue
            rest = list(itertools.takewhile(_belongs, lines[index + 1 :]))
            ours = [
                part.strip() for part in rest if part.startswith("  File") and "peerdisco" in part
            ]
            error = lines[index + 1 + len(rest) : index + 2 + len(rest)]
            found.append(" | ".join([*error, *ours[-1:]])[:TRACEBACK_CHARACTERS_MAX])
        return found

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _environment() -> dict[str, str]:
    """The environment of a daemon that must not see the caller's own settings."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PEERDISCO")}


def _belongs(line: str) -> bool:
    """Whether a line belongs to a traceback, but is not the error at its end."""
    return not line or line[0] in " +|"
