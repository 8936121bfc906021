"""What can befall a cluster: one table from kind to what is done and how it ends.

The vocabulary is that of `schedule.Fault`; `real.py` speaks the same to real processes. A kind gets
the names of its victims and its parameters, and returns how to undo it, or None when it ends by
itself. It raises `Moot` when there is nothing to do, such as killing the dead. When it fires, and
when it is undone, is the business of `storm.py`.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peerdisco_sim.atlas import blob_files, is_last_copy
from peerdisco_sim.disk import DiskFaults, SimDisk
from peerdisco_sim.machine import disk_of
from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.processes import SimProcesses, WorkerFaults
from peerdisco_sim.schedule import Value

if TYPE_CHECKING:
    from peerdisco_sim.storm import Storm

Undo = Callable[[], None]
Params = Mapping[str, Any]
Inflict = Callable[["Storm", list[str], Params], Undo | None]
NEVER = -1.0
"""As `back_s`: the machine stays down, until the calm at least."""


class Moot(Exception):
    """There is nothing to do: the victim is down already, nothing is stored there, ..."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        summary: What happens, in words.
        inflict: Does it.
        params: All parameters with their defaults. `for_s`: how long until it is undone.
        needs_target: Whether it happens to machines rather than to the network.
        keeps: Whether it may stay on a machine outside the core while the rest must finish.
        lasting: How bad it is then: a machine that crawls and never fails holds everybody up, and
            nothing here promises otherwise.
    """

    summary: str
    inflict: Inflict
    params: Mapping[str, Value] = field(default_factory=dict)
    needs_target: bool = True
    keeps: bool = False
    lasting: Mapping[str, Value] = field(default_factory=dict)


# -- processes and machines -------------------------------------------------------------------


def _kill(storm: Storm, names: list[str], params: Params) -> None:
    storm.take_down(names, storm.cluster.kill, float(params["back_s"]))


def _cut_power(storm: Storm, names: list[str], params: Params) -> None:
    storm.take_down(names, storm.cluster.cut_power, float(params["back_s"]))


def _crash_at_step(storm: Storm, names: list[str], params: Params) -> None:
    """Lose the process or the power at the n-th step of the disk from now."""
    end = storm.cluster.cut_power if params["power"] else storm.cluster.kill
    for name in _running(storm, names):
        disk = disk_of(storm.cluster.node(name))
        crash = functools.partial(_end_if_up, storm, name, end, float(params["back_s"]))
        disk.before_step = _Countdown(disk, int(params["steps"]), lambda c=crash: storm.soon(c))  # type: ignore[misc]  # mypy does not infer defaults of lambdas


def _end_if_up(storm: Storm, name: str, end: Callable[[str], None], back_s: float) -> None:
    """The step may have been the last one of a process that ends by itself."""
    if storm.cluster.node(name).is_running:
        storm.take_down([name], end, back_s)


class _Countdown:
    """Ends a disk's machine at the n-th step, after the code that makes the step has returned."""

    def __init__(self, disk: SimDisk, steps: int, end: Callable[[], None]) -> None:
        self._disk = disk
        self._left = steps
        self._end = end

    def __call__(self, operation: str, path: str) -> None:
        del operation, path
        self._left -= 1
        if self._left == 0:
            self._disk.before_step = None
            self._end()


def _stop(storm: Storm, names: list[str], params: Params) -> None:
    """SIGTERM: the daemon says goodbye and ends."""
    for name in _running(storm, names):
        main = storm.cluster.node(name).main
        assert main is not None
        storm.hold(name, float(params["back_s"]))
        main.cancel()


def _pause(storm: Storm, names: list[str], params: Params) -> Undo:
    """SIGSTOP, a long collection, a virtual machine that moves."""
    nodes = [storm.cluster.node(name) for name in _running(storm, names)]
    for node in nodes:
        node.pause(float(params["for_s"]))
    loops = [node.loop for node in nodes]

    def resume() -> None:
        for loop in loops:
            if loop is not None:
                loop.busy_until = min(loop.busy_until, storm.world.now)

    return resume


def _slow(storm: Storm, names: list[str], params: Params) -> Undo:
    nodes = [storm.cluster.node(name) for name in _running(storm, names)]
    for node in nodes:
        node.slow_down(float(params["step_s"]))

    def quicken() -> None:
        for node in nodes:
            node.slow_down(0.0)

    return quicken


def _jump_clock(storm: Storm, names: list[str], params: Params) -> None:
    for name in names:
        storm.cluster.node(name).wall_skew_s += float(params["by_s"])


def _join(storm: Storm, _: list[str], __: Params) -> None:
    if len(storm.cluster.names) >= storm.nodes_max:
        raise Moot
    storm.add_node()


# -- network ----------------------------------------------------------------------------------


def _partition(storm: Storm, names: list[str], params: Params) -> Undo:
    """The victims on one side, all other nodes on the other; clients see both, unless told."""
    others = _others(storm, names, clients=bool(params["clients"]))
    return _cut(storm, [(names, others), (others, names)])


def _one_way(storm: Storm, names: list[str], params: Params) -> Undo:
    """The victims cannot be heard (`mute`), or cannot hear."""
    others = _others(storm, names, clients=False)
    return _cut(storm, [(names, others) if params["mute"] else (others, names)])


def _cut_link(storm: Storm, names: list[str], _: Params) -> Undo:
    """One victim and one other node cannot reach each other; everybody else reaches both."""
    name = names[0]
    other = storm.draws.choice(_others(storm, [name], clients=False))
    return _cut(storm, [([name], [other]), ([other], [name])])


def _clog(storm: Storm, names: list[str], params: Params) -> None:
    for name in names:
        storm.world.network.clog(storm.cluster.node(name), float(params["for_s"]))


def _swizzle(storm: Storm, names: list[str], params: Params) -> Undo:
    """Cut the victims off one after the other, then let them back in another random order."""
    span = float(params["for_s"]) / 3
    undos: list[Undo] = []
    order = storm.draws.sample(names, len(names))

    def isolate(name: str) -> None:
        undos.append(_partition(storm, [name], {"clients": False}))

    def admit() -> None:
        if undos:
            undos.pop(storm.draws.randrange(len(undos)))()

    for index, name in enumerate(order):
        storm.later(span * index / len(order), functools.partial(isolate, name))
        storm.later(span * (2 + index / len(order)), admit)

    def admit_all() -> None:
        while undos:
            undos.pop()()

    return admit_all


def _degrade(storm: Storm, _: list[str], params: Params) -> Undo:
    network = storm.world.network
    before = network.conditions
    network.conditions = changed = _conditions(before, params)

    def restore() -> None:
        if network.conditions is changed:
            network.conditions = storm.usual_conditions

    return restore


def _bad_link(storm: Storm, names: list[str], params: Params) -> Undo:
    """All links of the victims, both ways, are bad."""
    network = storm.world.network
    conditions = _conditions(storm.usual_conditions, params)
    nodes = [storm.cluster.node(name) for name in names]
    pairs = [
        pair
        for node in nodes
        for other in storm.world.nodes.values()
        if other is not node
        for pair in ((node, other), (other, node))
    ]
    for source, target in pairs:
        network.set_link(source, target, conditions)

    def restore() -> None:
        for source, target in pairs:
            network.reset_link(source, target)

    return restore


# -- disks ------------------------------------------------------------------------------------


def _disk_error(storm: Storm, names: list[str], params: Params) -> Undo:
    """Every read, write or sync fails with EIO."""
    return _disk(storm, names, {f"{params['what']}_error": errno.EIO})


def _disk_full(storm: Storm, names: list[str], _: Params) -> Undo:
    disks = [disk_of(storm.cluster.node(name)) for name in names]
    for disk in disks:
        disk.files.capacity_bytes = 0

    def empty() -> None:
        for disk in disks:
            disk.files.capacity_bytes = storm.disk_bytes

    return empty


def _disk_slow(storm: Storm, names: list[str], params: Params) -> Undo:
    return _disk(storm, names, {"slowness": float(params["factor"])})


def _rot(storm: Storm, names: list[str], params: Params) -> None:
    """Flip bits in files of blobs, never in the last good copy."""
    rotted = 0
    for name in names:
        paths = blob_files(storm.cluster, name)
        for path in storm.draws.sample(paths, min(int(params["files"]), len(paths))):
            if not is_last_copy(storm.cluster, name, path):
                disk_of(storm.cluster.node(name)).rot(path)
                rotted += 1
    if not rotted:
        raise Moot


def _lose_disk(storm: Storm, names: list[str], params: Params) -> None:
    """The machine comes back with an empty disk, and is a new node with an old name.

    At most one in a play, and not while its disk has the only good copy of anything: more than
    the replication can stand is no test of it.
    """
    name = names[0]
    only = (
        path for path in blob_files(storm.cluster, name) if is_last_copy(storm.cluster, name, path)
    )
    if storm.disks_lost or len(storm.cluster.names) < 3 or any(only):
        raise Moot
    storm.disks_lost.append(name)
    node = storm.cluster.node(name)
    node.cut_power()
    node.devices.clear()
    storm.hold(name, float(params["back_s"]))


# -- workers ----------------------------------------------------------------------------------


def _worker_kill(storm: Storm, names: list[str], _: Params) -> None:
    """The kernel kills a worker that runs, for want of memory."""
    for name in names:
        running = list(_processes(storm.cluster.node(name)).running.values())
        if running:
            storm.draws.choice(running).kill()
            return
    raise Moot


def _worker_crash(storm: Storm, names: list[str], params: Params) -> Undo:
    return _workers(storm, names, {"crash": float(params["chance"])})


def _worker_hang(storm: Storm, names: list[str], params: Params) -> Undo:
    return _workers(storm, names, {"hang": float(params["chance"])})


def _worker_slow(storm: Storm, names: list[str], params: Params) -> Undo:
    return _workers(storm, names, {"slowness": float(params["factor"])})


FAULTS: Mapping[str, Kind] = {
    "kill": Kind("kill -9", _kill, {"back_s": 2.0}, keeps=True),
    "power_cut": Kind("power cut: silence, torn writes", _cut_power, {"back_s": 3.0}, keeps=True),
    "crash_at_step": Kind(
        "the end at the n-th step of the disk",
        _crash_at_step,
        {"steps": 10, "power": True, "back_s": 2.0},
    ),
    "stop": Kind("SIGTERM, and a later start", _stop, {"back_s": 2.0}),
    "pause": Kind("SIGSTOP for a while", _pause, {"for_s": 2.0}),
    "slow": Kind(
        "every step costs CPU time",
        _slow,
        {"for_s": 4.0, "step_s": 0.002},
        keeps=True,
        lasting={"step_s": 0.0005},
    ),
    "clock_jump": Kind("the calendar jumps", _jump_clock, {"by_s": 3600.0}),
    "join": Kind("a new machine joins", _join, needs_target=False),
    "partition": Kind(
        "two sides, both ways", _partition, {"for_s": 5.0, "clients": False}, keeps=True
    ),
    "one_way": Kind("cut in one direction", _one_way, {"for_s": 5.0, "mute": True}, keeps=True),
    "cut_link": Kind("one pair cannot talk", _cut_link, {"for_s": 5.0}),
    "clog": Kind("traffic is held back, then bursts", _clog, {"for_s": 2.0}),
    "swizzle": Kind("cut off one by one, let back in another order", _swizzle, {"for_s": 9.0}),
    "degrade": Kind(
        "the whole network is bad",
        _degrade,
        {
            "for_s": 5.0,
            "latency_s_max": 0.05,
            "loss": 0.1,
            "duplicate": 0.1,
            "reorder": 0.1,
            "bytes_per_s": 0.0,
        },
        needs_target=False,
    ),
    "bad_link": Kind(
        "one machine's links are bad",
        _bad_link,
        {
            "for_s": 5.0,
            "latency_s_max": 0.2,
            "loss": 0.2,
            "duplicate": 0.1,
            "reorder": 0.1,
            "bytes_per_s": 0.0,
        },
        keeps=True,
        lasting={"loss": 0.05, "latency_s_max": 0.05},
    ),
    "disk_error": Kind("EIO", _disk_error, {"for_s": 3.0, "what": "sync"}, keeps=True),
    "disk_full": Kind("ENOSPC", _disk_full, {"for_s": 5.0}, keeps=True),
    "disk_slow": Kind("a slow disk", _disk_slow, {"for_s": 5.0, "factor": 30.0}, keeps=True),
    "bit_rot": Kind("bits flip in blobs", _rot, {"files": 1}),
    "disk_loss": Kind("back with an empty disk", _lose_disk, {"back_s": 3.0}),
    "worker_kill": Kind("a worker is killed", _worker_kill),
    "worker_crash": Kind("workers crash", _worker_crash, {"for_s": 4.0, "chance": 0.2}, keeps=True),
    "worker_hang": Kind("workers hang", _worker_hang, {"for_s": 4.0, "chance": 0.1}, keeps=True),
    "worker_slow": Kind(
        "workers are slow", _worker_slow, {"for_s": 6.0, "factor": 20.0}, keeps=True
    ),
}
"""Every kind of fault, in the order in which they are listed for people."""


# -- help -------------------------------------------------------------------------------------


def _running(storm: Storm, names: list[str]) -> list[str]:
    running = [name for name in names if storm.cluster.node(name).is_running]
    if not running:
        raise Moot
    return running


def _others(storm: Storm, names: list[str], *, clients: bool) -> list[str]:
    everybody = list(storm.world.nodes) if clients else storm.cluster.names
    others = [name for name in everybody if name not in names]
    if not others:
        raise Moot
    return others


def _cut(storm: Storm, directions: list[tuple[list[str], list[str]]]) -> Undo:
    network, node = storm.world.network, storm.cluster.node
    generation = storm.healings
    for sources, targets in directions:
        network.cut(map(node, sources), map(node, targets))

    def mend() -> None:
        if storm.healings == generation:
            for sources, targets in directions:
                network.mend(map(node, sources), map(node, targets))

    return mend


def _conditions(usual: Conditions, params: Params) -> Conditions:
    names = [item.name for item in dataclasses.fields(Conditions)]
    return dataclasses.replace(
        usual, **{name: float(params[name]) for name in names if name in params}
    )


def _disk(storm: Storm, names: list[str], changes: dict[str, Any]) -> Undo:
    return _set([disk_of(storm.cluster.node(name)).faults for name in names], changes, DiskFaults())


def _workers(storm: Storm, names: list[str], changes: dict[str, float]) -> Undo:
    processes = [_processes(storm.cluster.node(name)) for name in names]
    return _set([each.faults for each in processes], changes, WorkerFaults())


def _set(faults: Sequence[object], changes: Mapping[str, Any], usual: object) -> Undo:
    def assign(values: Mapping[str, Any]) -> None:
        for each in faults:
            for key, value in values.items():
                setattr(each, key, value)

    assign(changes)
    return functools.partial(assign, {key: getattr(usual, key) for key in changes})


def _processes(node: SimNode) -> SimProcesses:
    processes = node.devices.get("processes")
    if not isinstance(processes, SimProcesses):
        raise Moot
    return processes
