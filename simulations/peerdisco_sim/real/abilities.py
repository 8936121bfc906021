"""What this machine can do to real daemons, found out by doing it once on a small scale.

Whoever is not root, or lacks a tool, still gets kills, pauses and restarts; the rest is skipped by
name, with the reason, and stands in the report.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peerdisco_sim.real.namespaces import PREFIX, Switch
from peerdisco_sim.real.power import PowerDisk
from peerdisco_sim.real.shell import ToolFailed

_PROBE_MIB = 16


@dataclass(frozen=True, slots=True)
class Abilities:
    """Why not, or "" where it can.

    Attributes:
        no_network: Why hosts cannot be cut off from each other.
        no_power: Why a disk cannot lose power.
    """

    no_network: str
    no_power: str


def find_abilities(*, root: bool | None = None) -> Abilities:
    """Try everything once. `root` says whether to try at all; by default, whether we are root."""
    if root is None:
        root = os.geteuid() == 0
    if not root:
        return Abilities("needs root", "needs root")
    return Abilities(_why_not(_try_network), _why_not(_try_power))


def _why_not(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except OSError as error:
        return str(error)
    return ""


def _try_network() -> None:
    switch = Switch(f"{PREFIX}{os.getpid()}-probe")
    switch.open()
    try:
        wire = switch.add()
        wire.deafen([wire.address])
        wire.lose(0.5)
        wire.heal()
    finally:
        switch.close()


def _try_power() -> None:
    """A file whose name and bytes were synced must survive, one that was not need not."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-probe-") as directory:
        disk = PowerDisk(Path(directory), "probe", _PROBE_MIB)
        try:
            disk.make()
            (disk.directory / "unsynced").write_bytes(b"gone")
            disk.cut()
            disk.unmount()
            disk.mount()
            if (disk.directory / "unsynced").exists():
                raise ToolFailed("a power cut of the loop device loses nothing here")
        finally:
            disk.close()
