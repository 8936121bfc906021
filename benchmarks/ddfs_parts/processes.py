"""What processes use: CPU seconds and memory, as Linux counts them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.05


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of processes so far, without their children."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / CLOCK_TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Growth:
    """The largest growth of any of some processes while the block runs, in MiB."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._before = {pid: rss_mb(pid) for pid in pids}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.mb = 0.0

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_S):
            for pid, before in self._before.items():
                self.mb = max(self.mb, rss_mb(pid) - before)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
