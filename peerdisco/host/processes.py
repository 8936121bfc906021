"""Worker processes: a warm Python behind length-framed pipes.

Each worker leads a session of its own, so that `kill` also ends whatever the user's code started.
It ends by itself when its standard input closes, so no worker outlives a killed daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""A longer frame is a broken worker."""

LOG_TAIL_BYTES = 16 * 1024
LOG_BYTES_MAX = 4 * 1024 * 1024
"""A worker's log is cut back to its tail beyond this, at the next frame that it sends."""


class HostProcesses:
    """Starts `python -m peerdisco.worker` in the data directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def start_worker(self) -> HostProcess:
        """See Processes."""
        log = tempfile.TemporaryFile("ab+", dir=self._root, prefix="worker-")  # noqa: SIM115 - owned below
        # The mode alone does not make the worker append: after a cut it would leave a hole.
        flags = fcntl.fcntl(log.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(log.fileno(), fcntl.F_SETFL, flags | os.O_APPEND)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "peerdisco.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self._root,
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            log.close()
            raise
        return HostProcess(process, log)


class HostProcess:
    """One worker process."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._ended = False

    @property
    def pid(self) -> int:
        """See Process."""
        return self._process.pid

    async def send(self, frame: bytes) -> None:
        """See Process."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.writelines([len(frame).to_bytes(4, "big"), frame])
        await stdin.drain()

    async def receive(self) -> bytes | None:
        """See Process."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            size = int.from_bytes(await stdout.readexactly(4), "big")
            if size > FRAME_BYTES_MAX:
                self.kill()
                return None
            frame = await stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self._cut_log()
        return frame

    def kill(self) -> None:
        """See Process."""
        if self._ended:
            return  # the number may belong to somebody else by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """See Process."""
        status = await self._process.wait()
        self.kill()  # whatever it started ends with it
        self._ended = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()
        return status

    def log_tail(self) -> str:
        """See Process. Empty once the process has been waited for."""
        return "" if self._log.closed else self._tail().decode(errors="replace")

    def _cut_log(self) -> None:
        """Keep no more than the tail of a log that has grown long; the worker appends to it."""
        if self._log.closed or os.fstat(self._log.fileno()).st_size <= LOG_BYTES_MAX:
            return
        tail = self._tail()
        os.ftruncate(self._log.fileno(), 0)
        os.write(self._log.fileno(), tail)

    def _tail(self) -> bytes:
        descriptor = self._log.fileno()
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))


def _environment() -> dict[str, str]:
    """This process's environment, in which the worker finds the same peerdisco."""
    packages = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH", "")
    paths = [packages, *(path for path in known.split(os.pathsep) if path and path != packages)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
