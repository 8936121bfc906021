"""Hosts that are network namespaces on one switch, and the packet filter that cuts them apart.

    switch namespace: bridge -- port1 port2 ...
    host namespace i: eth0, 10.99.0.i

Each host drops what it must not hear in a filter of its own, so every fault is one-way, as in the
simulator. Nothing here is connected to the machine's own network. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from peerdisco_sim.real.shell import ToolFailed, attempt, call

T = TypeVar("T")

SUBNET = "10.99.0"
HOSTS_MAX = 250
PREFIX = "pdsim"
_BRIDGE = "bridge"
_CARD = "eth0"
_TABLE = "inet disasters"
_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_GONE_S_MAX = 5.0
_DICE = 10_000


class Wire:
    """One host: a namespace with one network card on the switch."""

    def __init__(self, switch: str, run: str, number: int) -> None:
        self.namespace = f"{run}-{number}"
        self.address = f"{SUBNET}.{number}"
        self._switch = switch
        self._port = f"port{number}"
        self._deaf_to: dict[str, int] = {}
        """How many faults cut off each address."""
        self._loss: dict[str, float] = {}

    def connect(self) -> None:
        """Make the namespace and plug it in."""
        inside = ("ip", "-n", self.namespace)
        call("ip", "netns", "add", self.namespace)
        call(
            "ip", "link", "add", _CARD, "netns", self.namespace,
            "type", "veth", "peer", "name", self._port, "netns", self._switch,
        )  # fmt: skip
        call("ip", "-n", self._switch, "link", "set", self._port, "master", _BRIDGE, "up")
        call(*inside, "addr", "add", f"{self.address}/24", "dev", _CARD)
        call(*inside, "link", "set", _CARD, "up")
        call(*inside, "link", "set", "lo", "up")

    def enter(self) -> list[str]:
        """The beginning of a command that runs on this host."""
        return ["nsenter", f"--net={_DIRECTORY / self.namespace}"]

    def deafen(self, sources: list[str]) -> None:
        """Hear nothing any more from these addresses."""
        for source in sources:
            self._deaf_to[source] = self._deaf_to.get(source, 0) + 1
        self._filter()

    def hear(self, sources: list[str]) -> None:
        """Undo one `deafen`."""
        for source in sources:
            left = self._deaf_to.pop(source, 0) - 1
            if left > 0:
                self._deaf_to[source] = left
        self._filter()

    def lose(self, probability: float, source: str = "") -> None:
        """Lose packets that arrive, from one address or from all; 0 loses none."""
        self._loss.pop(source, None)
        if probability > 0:
            self._loss[source] = probability
        self._filter()

    def heal(self) -> None:
        """Hear everything again."""
        self._deaf_to.clear()
        self._loss.clear()
        self._filter()
        self.plug()

    def unplug(self) -> None:
        """Pull the cable."""
        call("ip", "-n", self._switch, "link", "set", self._port, "down")

    def plug(self) -> None:
        """Put the cable back."""
        call("ip", "-n", self._switch, "link", "set", self._port, "up")

    def processes(self) -> list[int]:
        """Who runs on this host."""
        return [int(line) for line in call("ip", "netns", "pids", self.namespace).split()]

    def kill_all(self) -> None:
        """End every process on this host, and wait until none is left."""
        deadline = time.monotonic() + _GONE_S_MAX
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise ToolFailed(f"processes {found} in {self.namespace} do not end")
            time.sleep(0.02)

    def _filter(self) -> None:
        """Write the filter anew as a whole: that is atomic."""
        rules = ["type filter hook input priority 0; policy accept;", "iif lo accept"]
        rules += [f"ip saddr {source} drop" for source in self._deaf_to]
        for source, probability in self._loss.items():
            origin = f"ip saddr {source} " if source else ""
            share = round(probability * _DICE)
            chance = f"numgen random mod {_DICE} < {share} " if share < _DICE else ""
            rules.append(f"{origin}{chance}drop")
        lines = [
            f"table {_TABLE}",
            f"delete table {_TABLE}",
            f"table {_TABLE} {{",
            "chain arrival {",
            *rules,
            "}",
            "}",
        ]
        call(*self.enter(), "nft", "-f", "-", text="\n".join(lines) + "\n")


class Switch:
    """A switch and the hosts on it; `close` removes all of it.

    Args:
        run: Begins the names of the namespaces; unique to one run.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self._namespace = f"{run}-switch"
        self._wires: list[Wire] = []

    def open(self) -> None:
        """Make the switch. Raises ToolFailed when this machine cannot; nothing is left then."""
        try:
            call("ip", "netns", "add", self._namespace)
            call("ip", "-n", self._namespace, "link", "add", _BRIDGE, "type", "bridge")
            call("ip", "-n", self._namespace, "link", "set", _BRIDGE, "up")
        except ToolFailed:
            self.close()
            raise

    def add(self) -> Wire:
        """One more host."""
        number = len(self._wires) + 1
        assert number <= HOSTS_MAX
        wire = Wire(self._namespace, self.run, number)
        self._wires.append(wire)
        wire.connect()
        return wire

    def close(self) -> None:
        """End what runs on the hosts and remove them. Idempotent."""
        wires, self._wires = self._wires, []
        for wire in wires:
            if (_DIRECTORY / wire.namespace).exists():
                wire.kill_all()
        names = [*(wire.namespace for wire in wires), self._namespace]
        there = [name for name in names if (_DIRECTORY / name).exists()]
        attempt([("ip", "netns", "del", name) for name in there])


def run_inside(wire: Wire | None, function: Callable[[], T]) -> T:
    """Call a function in a thread whose sockets are on that host; here when there is none.

    Threads that it starts are on that host too.
    """
    if wire is None:
        return function()
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            _move_thread(wire)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name=f"in {wire.namespace}", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _move_thread(wire: Wire) -> None:
    """Put the calling thread, and no other, into the host's namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(_DIRECTORY / wire.namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if library.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), wire.namespace)
    finally:
        os.close(descriptor)


def sweep() -> list[str]:
    """Remove what runs of this program left that were killed; the names of what was removed.

    A run's namespaces carry its process id, so those of living runs stay.
    """
    if not _DIRECTORY.is_dir():
        return []
    removed = []
    for entry in sorted(_DIRECTORY.glob(f"{PREFIX}*-*")):
        owner = entry.name.removeprefix(PREFIX).partition("-")[0]
        if not owner.isdecimal() or Path("/proc", owner).exists():
            continue
        wire = Wire("", entry.name.rpartition("-")[0], 0)
        wire.namespace = entry.name
        wire.kill_all()
        call("ip", "netns", "del", entry.name)
        removed.append(entry.name)
    return removed
