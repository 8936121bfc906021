"""Child processes that are asked things in lines of JSON, and answer in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ANSWER_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0

Answer = dict[str, Any]


class Child:
    """One node of a cluster under test, in a process of its own."""

    def __init__(self, program: Path, settings: Answer, log: Path, environment: dict[str, str]):
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(program), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | environment,
            )
        self._log = log
        self._unread = b""
        self.pid = self._process.pid

    def ask(self, do: str, **arguments: Any) -> Answer:
        self.tell(do, **arguments)
        return self.answer()

    def tell(self, do: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
        found = self.poll(timeout_s)
        if found is None:
            raise SystemExit(f"process {self.pid} does not answer:\n{self._tail()}")
        return found

    def poll(self, timeout_s: float) -> Answer | None:
        """An answer that comes within that time, or None."""
        line = self._line(time.monotonic() + timeout_s)
        if line is None:
            return None
        found: Answer = json.loads(line)
        if "error" in found:
            raise SystemExit(f"process {self.pid}: {found['error']}\n{self._tail()}")
        return found

    def kill(self) -> float:
        """As kill -9; returns when."""
        at = time.monotonic()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        return at

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _line(self, deadline: float) -> bytes | None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                raise SystemExit(f"process {self.pid} has ended:\n{self._tail()}")
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def ask_all(children: list[Child], do: str, **arguments: Any) -> list[Answer]:
    """Ask them all at the same time."""
    for child in children:
        child.tell(do, **arguments)
    return [child.answer() for child in children]
