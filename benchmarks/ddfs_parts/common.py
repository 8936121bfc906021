"""What all parts share: figures, clients, and saying what was measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from peerdisco.client import Cluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target

SETTLE_S = 120.0

Figures = dict[str, float | None]


def connect(address: str) -> Cluster:
    return Cluster(Session(parse_target(address)))


def say(text: str) -> None:
    print(text, flush=True)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {SETTLE_S:.0f} s: {what}")
        time.sleep(0.1)


def listed(values: list[float], digits: int = 0) -> str:
    """The median, and all of them when there are several."""
    median = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} (of {', '.join(f'{value:.{digits}f}' for value in values)})"
