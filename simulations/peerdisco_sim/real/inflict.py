"""What each kind of fault means for real processes: the vocabulary and parameters of `faults.py`.

A kind that this machine or this harness cannot do raises `Skipped` with the reason.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Mapping

from peerdisco_sim.faults import FAULTS
from peerdisco_sim.real.abilities import Abilities
from peerdisco_sim.real.cluster import RealCluster
from peerdisco_sim.real.daemons import Daemon
from peerdisco_sim.real.namespaces import Wire
from peerdisco_sim.real.skipping import NotNow, Skipped
from peerdisco_sim.real.targets import Targets
from peerdisco_sim.schedule import Fault, Value

Params = Mapping[str, Value]
Later = Callable[[float, Callable[[], None]], None]
"""`later(seconds, action)`: do something else after that time."""

IMPOSSIBLE = {
    "crash_at_step": "no real disk counts its steps",
    "slow": "needs a CPU quota",
    "clock_jump": "the clock belongs to the whole machine",
    "clog": "needs a queue in the network (tc netem)",
    "disk_error": "needs a FUSE file system",
    "disk_slow": "needs a FUSE file system",
    "bit_rot": "from outside it cannot be told which copy is the last good one",
    "disk_loss": "from outside it cannot be told which copy is the last good one",
    "worker_slow": "needs a CPU quota",
}
"""What is not done with real processes, and why."""

NODES_MORE_MAX = 2
SUPERVISOR_S = 1.0


class Disasters:
    """Inflicts faults on a real cluster.

    Args:
        cluster: Whose daemons suffer.
        abilities: What the machine can do.
        targets: Finds victims.
        later: Called for the ends of faults that last.
        draws: Makes choices that a schedule leaves open.

    Attributes:
        meant_down: Daemons that are down because a fault wants it.
        refused: Daemons whose disk has refused something: they may end, to be started again.
    """

    def __init__(
        self,
        cluster: RealCluster,
        abilities: Abilities,
        targets: Targets,
        later: Later,
        draws: random.Random,
    ) -> None:
        self.meant_down: dict[str, None] = {}
        self.refused: dict[str, None] = {}
        self._cluster = cluster
        self._abilities = abilities
        self._targets = targets
        self._later = later
        self._draws = draws
        self._nodes_max = len(cluster.daemons) + NODES_MORE_MAX

    def inflict(self, fault: Fault) -> str:
        """Do it; who was hit. Raises Skipped."""
        kind = FAULTS.get(fault.kind)
        if kind is None:
            raise Skipped("nobody knows this kind")
        if fault.kind not in KINDS:
            raise Skipped(IMPOSSIBLE.get(fault.kind, "never tried with real processes"))
        names = self._targets.find(fault.target) if kind.needs_target else []
        daemons = [self._cluster.daemons[name] for name in names]
        KINDS[fault.kind](self, daemons, {**kind.params, **fault.params})
        return ", ".join(names)

    def supervise(self, daemon: Daemon) -> None:
        """Start a daemon again that ended because its disk refused a write."""
        self.meant_down[daemon.name] = None
        self._later(SUPERVISOR_S, lambda: self._start(daemon))

    def heal(self) -> None:
        """Undo everything, and start what is down."""
        for daemon in self._cluster.daemons.values():
            self._start(daemon)
            if daemon.wire is not None:
                daemon.wire.heal()
            if daemon.disk is not None:
                daemon.disk.empty()

    # -- processes and machines ---------------------------------------------------------------

    def _kill(self, daemons: list[Daemon], params: Params) -> None:
        self._take_down(daemons, params, Daemon.kill)

    def _power_cut(self, daemons: list[Daemon], params: Params) -> None:
        if self._abilities.no_power:
            raise Skipped(self._abilities.no_power)
        self._take_down(daemons, params, Daemon.cut_power)

    def _stop(self, daemons: list[Daemon], params: Params) -> None:
        self._take_down(daemons, params, Daemon.terminate)

    def _take_down(
        self, daemons: list[Daemon], params: Params, how: Callable[[Daemon], None]
    ) -> None:
        running = [daemon for daemon in daemons if daemon.is_running]
        if not running:
            raise NotNow("down already")
        for daemon in running:
            self.meant_down[daemon.name] = None
            how(daemon)
            back_s = float(params["back_s"])
            if back_s >= 0:
                self._later(back_s, lambda daemon=daemon: self._start(daemon))  # type: ignore[misc]  # mypy does not infer defaults of lambdas

    def _start(self, daemon: Daemon) -> None:
        daemon.restart()
        self.meant_down.pop(daemon.name, None)

    def _pause(self, daemons: list[Daemon], params: Params) -> None:
        for daemon in daemons:
            if daemon.is_running and not daemon.is_paused:
                daemon.pause()
                self._later(float(params["for_s"]), daemon.resume)

    def _join(self, _: list[Daemon], __: Params) -> None:
        if len(self._cluster.daemons) >= self._nodes_max:
            raise Skipped("enough have joined")
        self._cluster.add()

    # -- network ------------------------------------------------------------------------------

    def _partition(self, daemons: list[Daemon], params: Params) -> None:
        inside, outside = self._wires(daemons), self._wires(self._others(daemons))
        if params["clients"] and self._cluster.client_wire is not None:
            outside.append(self._cluster.client_wire)
        self._cut(inside, outside, params)
        self._cut(outside, inside, params)

    def _one_way(self, daemons: list[Daemon], params: Params) -> None:
        inside, outside = self._wires(daemons), self._wires(self._others(daemons))
        sources, hearers = (inside, outside) if params["mute"] else (outside, inside)
        self._cut(sources, hearers, params)

    def _cut_link(self, daemons: list[Daemon], params: Params) -> None:
        one = self._wires(daemons[:1])
        other = self._wires([self._draws.choice(self._others(daemons[:1]))])
        self._cut(one, other, params)
        self._cut(other, one, params)

    def _swizzle(self, daemons: list[Daemon], params: Params) -> None:
        """Cut off one after the other; each comes back after a time of its own."""
        span = float(params["for_s"]) / 3
        order = self._draws.sample(daemons, len(daemons))
        for index, daemon in enumerate(order):
            until = self._draws.uniform(span, 2 * span)
            once: Params = {"clients": False, "for_s": until}
            self._later(
                span * index / len(order),
                lambda daemon=daemon, once=once: self._partition([daemon], once),  # type: ignore[misc]  # likewise
            )

    def _degrade(self, _: list[Daemon], params: Params) -> None:
        self._lose(self._wires(list(self._cluster.daemons.values())), "", params)

    def _bad_link(self, daemons: list[Daemon], params: Params) -> None:
        wires = self._wires(daemons)
        self._lose(wires, "", params)
        for wire in wires:
            self._lose(self._wires(self._others(daemons)), wire.address, params)

    def _cut(self, sources: list[Wire], hearers: list[Wire], params: Params) -> None:
        addresses = [wire.address for wire in sources]
        for hearer in hearers:
            hearer.deafen(addresses)
            self._later(float(params["for_s"]), lambda hearer=hearer: hearer.hear(addresses))  # type: ignore[misc]  # likewise

    def _lose(self, hearers: list[Wire], source: str, params: Params) -> None:
        """Loss only: delay, duplicates and reordering would need `tc netem`."""
        for hearer in hearers:
            hearer.lose(float(params["loss"]), source)
            self._later(float(params["for_s"]), lambda hearer=hearer: hearer.lose(0.0, source))  # type: ignore[misc]  # likewise

    def _others(self, daemons: list[Daemon]) -> list[Daemon]:
        others = [d for d in self._cluster.daemons.values() if d not in daemons]
        if not others:
            raise Skipped("there is nobody else")
        return others

    def _wires(self, daemons: list[Daemon]) -> list[Wire]:
        if self._abilities.no_network:
            raise Skipped(self._abilities.no_network)
        return [daemon.wire for daemon in daemons if daemon.wire is not None]

    # -- disks and workers --------------------------------------------------------------------

    def _disk_full(self, daemons: list[Daemon], params: Params) -> None:
        for daemon in daemons:
            if daemon.disk is None:
                raise Skipped(self._abilities.no_power)
            if daemon.is_powered:
                self.refused[daemon.name] = None
                daemon.disk.fill()
                self._later(float(params["for_s"]), daemon.disk.empty)

    def _signal_worker(self, daemons: list[Daemon], number: signal.Signals) -> int:
        workers = [pid for daemon in daemons for pid in daemon.workers()]
        if not workers:
            raise NotNow("no worker runs")
        chosen = self._draws.choice(workers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(chosen, number)
        return chosen

    def _worker_kill(self, daemons: list[Daemon], _: Params) -> None:
        self._signal_worker(daemons, signal.SIGKILL)

    def _worker_crash(self, daemons: list[Daemon], _: Params) -> None:
        self._signal_worker(daemons, signal.SIGSEGV)

    def _worker_hang(self, daemons: list[Daemon], params: Params) -> None:
        chosen = self._signal_worker(daemons, signal.SIGSTOP)

        def resume() -> None:
            # The number may belong to somebody else by now, whom SIGCONT does not hurt either.
            with contextlib.suppress(ProcessLookupError):
                os.kill(chosen, signal.SIGCONT)

        self._later(float(params["for_s"]), resume)


KINDS: Mapping[str, Callable[[Disasters, list[Daemon], Params], None]] = {
    "kill": Disasters._kill,
    "power_cut": Disasters._power_cut,
    "stop": Disasters._stop,
    "pause": Disasters._pause,
    "join": Disasters._join,
    "partition": Disasters._partition,
    "one_way": Disasters._one_way,
    "cut_link": Disasters._cut_link,
    "swizzle": Disasters._swizzle,
    "degrade": Disasters._degrade,
    "bad_link": Disasters._bad_link,
    "disk_full": Disasters._disk_full,
    "worker_kill": Disasters._worker_kill,
    "worker_crash": Disasters._worker_crash,
    "worker_hang": Disasters._worker_hang,
}
"""What is done with real processes."""
