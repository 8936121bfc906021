"""The real machine behind the seam."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from peerdisco.host.disk import HostDisk
from peerdisco.host.processes import HostProcesses
from peerdisco.host.store import SqliteStore
from peerdisco.host.tls import MutualTls
from peerdisco.machine import Knob, Machine, as_shipped


@contextlib.contextmanager
def host_machine(root: Path, knob: Knob = as_shipped) -> Iterator[Machine]:
    """The machine of a node whose data directory is `root`, for as long as the node runs."""
    disk = HostDisk(root)
    try:
        yield Machine(
            disk=disk,
            open_store=lambda name: SqliteStore(root / "metadata" / f"{name}.sqlite"),
            processes=HostProcesses(root),
            rng=lambda name: random.Random(os.urandom(16) + name.encode()),
            entropy=os.urandom,
            wall_time=time.time,
            transport_security=MutualTls,
            knob=knob,
        )
    finally:
        disk.close()
