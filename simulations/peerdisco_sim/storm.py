"""The storm: plays a schedule's faults on an arena, and calms down.

A fault fires at its time, or a little later when its selector finds nobody yet; its undo comes
`for_s` after. Machines that went down come back after `back_s`, and a daemon that gives up is
started again, as a supervisor would. `calm` heals the core and leaves every other machine broken
for good. Everything is recorded, with the victims' names.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from peerdisco_sim.arena import Arena
from peerdisco_sim.atlas import blob_files, is_last_copy
from peerdisco_sim.disk import DiskFaults
from peerdisco_sim.faults import FAULTS, Moot, Undo
from peerdisco_sim.machine import disk_of
from peerdisco_sim.nemesis import Nemesis, Terms
from peerdisco_sim.network import Conditions
from peerdisco_sim.processes import SimProcesses, WorkerFaults
from peerdisco_sim.schedule import BadSchedule, Fault, Value

POLL_S = 0.02
WAIT_S = 6.0
"""How long a selector may look for a victim; `wait_s` of a fault changes it."""

SUPERVISOR_S = 1.0
JOINS_MAX = 3
DISK_BYTES = 1 << 40
_COMMON = ("wait_s", "after_s")


@dataclass(slots=True)
class Active:
    """A fault that has fired and was not undone yet."""

    fault: Fault
    names: list[str]
    undo: Undo | None


class Storm:
    """What happens to one arena.

    Attributes:
        fired: How often each kind happened.
        missed: How often a kind found nobody, or nothing to do.
        fired_faults: What happened, with the names of the victims and the times when it did.
        usual_conditions: How the network behaves when nothing changes it.
        disks_lost: Machines that lost their disk.
        healings: How often the whole network was healed; older cuts are gone.
    """

    def __init__(self, arena: Arena, usual_conditions: Conditions) -> None:
        self.arena = arena
        self.world = arena.world
        self.cluster = arena.cluster
        self.fired: collections.Counter[str] = collections.Counter()
        self.missed: collections.Counter[str] = collections.Counter()
        self.fired_faults: list[Fault] = []
        self.usual_conditions = usual_conditions
        self.disks_lost: list[str] = []
        self.healings = 0
        self.disk_bytes = DISK_BYTES
        self.nodes_max = arena.schedule.nodes + JOINS_MAX
        self.draws = self.world.stream("faults")
        self._began = 0.0
        self._is_over = False
        self._active: list[Active] = []
        self._held: dict[str, int] = {}
        self._holds = 0
        arena.on_ended(self._ended)

    # -- the schedule -------------------------------------------------------------------------

    def begin(self, faults: Sequence[Fault]) -> None:
        """Let all faults happen, counted from now."""
        self._began = self.world.now
        for number, fault in enumerate(faults):
            check_fault(fault)
            # Each fault draws from a stream of its own: taking one away changes no other.
            self.world.after(fault.at, lambda f=fault, n=number: self._due(f, n))  # type: ignore[misc]  # mypy does not infer defaults of lambdas

    def _due(self, fault: Fault, number: int) -> None:
        draws = self.world.stream("faults", fault.kind, number, fault.target)
        nemesis = Nemesis(self.arena, draws)
        deadline = self.world.now + float(fault.params.get("wait_s", WAIT_S))
        self._look(fault, nemesis, nemesis.terms(), deadline)

    def _look(self, fault: Fault, nemesis: Nemesis, armed: Terms, deadline: float) -> None:
        """Fire when the target is there; look again a little later while it is not."""
        if self._is_over:
            return
        self.draws = nemesis.draws
        names = nemesis.find(fault.target, armed) if fault.target else []
        if names or not FAULTS[fault.kind].needs_target:
            after = float(fault.params.get("after_s", 0.0))
            if after:
                self.later(after, lambda: self._fire(fault, names))
            else:
                self._fire(fault, names)
        elif self.world.now < deadline:
            self.world.after(POLL_S, lambda: self._look(fault, nemesis, armed, deadline))
        else:
            self.missed[fault.kind] += 1

    def _fire(self, fault: Fault, names: list[str]) -> None:
        kind = FAULTS[fault.kind]
        params: dict[str, Value] = {**kind.params, **fault.params}
        try:
            undo = kind.inflict(self, names, params)
        except Moot:
            self.missed[fault.kind] += 1
            return
        self.fired[fault.kind] += 1
        at = round(self.world.now - self._began, 6)
        named = ",".join(names)
        self.fired_faults.append(msgspec.structs.replace(fault, at=at, target=named))
        how = " ".join(f"{key}={value}" for key, value in params.items() if key not in _COMMON)
        detail = f"{fault.kind} {named or 'network'} {how}".strip()
        data = {"kind": fault.kind, "target": fault.target, "nodes": named}
        for_s = float(params.get("for_s", 0.0))
        node = names[0] if len(names) == 1 else ""
        self.arena.recorder.note("fault", detail, node, **data, for_s=for_s)
        active = Active(fault, names, undo)
        if undo is not None:
            self._active.append(active)
            self.later(for_s, lambda: self._end(active))

    def _end(self, active: Active) -> None:
        if active in self._active and active.undo is not None:
            self._active.remove(active)
            active.undo()
            named = ",".join(active.names)
            self.arena.recorder.note("fault ended", f"{active.fault.kind} {named}".strip())

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back, unless the storm is over by then."""
        self.world.after(seconds, lambda: None if self._is_over else callback())

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back at this instant, outside of every node."""
        self.world.after(0.0, callback)

    # -- machines -----------------------------------------------------------------------------

    def take_down(self, names: list[str], end: Callable[[str], None], back_s: float) -> None:
        """End the victims' processes; they come back after `back_s`, or never if it is negative.

        Raises Moot when none of them runs.
        """
        running = [name for name in names if self.cluster.node(name).is_running]
        if not running:
            raise Moot
        for name in running:
            self.arena.recorder.note("down", "by a fault", name)
            end(name)
            self.hold(name, back_s)

    def hold(self, name: str, back_s: float) -> None:
        """Keep a machine down until then, whoever wants to start it."""
        self._holds = hold = self._holds + 1
        self._held[name] = hold
        if back_s >= 0:
            self.later(back_s, lambda: self._release(name, hold))

    def _release(self, name: str, hold: int) -> None:
        if self._held.get(name) != hold:
            return
        if self.cluster.node(name).is_running:  # it was told to stop and has not finished
            self.later(SUPERVISOR_S, lambda: self._release(name, hold))
            return
        del self._held[name]
        self.arena.boot(name)

    def _ended(self, name: str) -> None:
        """The supervisor: what ended by itself is started again, unless it is held down."""

        def start() -> None:
            if name not in self._held and not self.cluster.node(name).is_running:
                self.arena.boot(name)

        self.world.after(SUPERVISOR_S, start)

    def add_node(self) -> None:
        """A new machine joins."""
        self.arena.add_node(f"n{len(self.cluster.names) + 1}")

    # -- calm ---------------------------------------------------------------------------------

    def choose_core(self) -> tuple[str, ...]:
        """Who is to be healed: all but one, preferably one that is broken already.

        A lost disk has used up what three copies can stand, and so has a small cluster. Nobody
        is left out who has the only good copy of something that has rotted elsewhere.
        """
        names = self.cluster.names
        draws = self.world.stream("core")
        if len(names) < 3 or self.disks_lost:
            return tuple(names)
        broken = [name for name in names if not self.cluster.node(name).is_running]
        broken += [active.names[0] for active in self._active if len(active.names) == 1]
        if self.fired["bit_rot"]:
            spared = [name for name in names if self._has_a_last_copy(name)]
            broken = [name for name in broken if name not in spared]
            names = [name for name in names if name not in spared]
        if not names:
            return tuple(self.cluster.names)
        victim = draws.choice(broken or names)
        names = self.cluster.names
        return tuple(name for name in names if name != victim)

    def _has_a_last_copy(self, name: str) -> bool:
        paths = blob_files(self.cluster, name)
        return any(is_last_copy(self.cluster, name, path) for path in paths)

    def calm(self, core: Sequence[str]) -> None:
        """Heal the core; what is wrong with all others stays, and nobody else recovers."""
        self._is_over = True
        self.healings += 1
        self.world.network.heal()
        self.world.network.conditions = self.usual_conditions
        active, self._active = self._active, []
        for name in self.cluster.names:
            if name in core:
                self._heal(name)
            else:
                self._break(name, [each for each in active if name in each.names])

    def _heal(self, name: str) -> None:
        node = self.cluster.node(name)
        disk = disk_of(node)
        disk.faults = DiskFaults()
        disk.before_step = None
        disk.files.capacity_bytes = self.disk_bytes
        processes = node.devices.get("processes")
        if isinstance(processes, SimProcesses):
            processes.faults = WorkerFaults()
        if node.loop is not None:
            node.slow_down(0.0)
            node.loop.busy_until = min(node.loop.busy_until, self.world.now)
        self._held.pop(name, None)
        if not node.is_running:
            self.arena.boot(name)

    def _break(self, name: str, active: list[Active]) -> None:
        """Make what is wrong with a machine permanent; something is."""
        draws = self.world.stream("core", name)
        node = self.cluster.node(name)
        kept = [each.fault for each in active if FAULTS[each.fault.kind].keeps]
        if not node.is_running:
            detail = "stays down"
            self.hold(name, -1.0)
        elif kept:
            detail = f"{kept[-1].kind} stays"
            self.draws = draws
            kind = FAULTS[kept[-1].kind]
            kind.inflict(self, [name], {**kind.params, **kept[-1].params, **kind.lasting})
        else:
            word = draws.choice(("kill", "power_cut", "partition", "one_way"))
            detail = f"{word} for good"
            params = {**FAULTS[word].params, "back_s": -1.0, "clients": True}
            FAULTS[word].inflict(self, [name], params)
        self.arena.recorder.note("fault", detail, name, kind="permanent", nodes=name)


def check_fault(fault: Fault) -> None:
    """Raises BadSchedule for a kind, a parameter or a missing target that makes no sense."""
    kind = FAULTS.get(fault.kind)
    if kind is None:
        raise BadSchedule(f"no kind of fault is called {fault.kind!r}: {', '.join(FAULTS)}")
    strange = [key for key in fault.params if key not in kind.params and key not in _COMMON]
    if strange:
        raise BadSchedule(f"{fault.kind} has no parameter {strange[0]!r}: {', '.join(kind.params)}")
    if kind.needs_target and not fault.target:
        raise BadSchedule(f"{fault.kind} needs a target")
    if fault.at < 0:
        raise BadSchedule(f"a fault at {fault.at} s: times count from the storm's beginning")
