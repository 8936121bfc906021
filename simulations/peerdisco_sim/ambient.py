"""The process-wide clocks, randomness and sockets, lent to the world while it runs.

Unmodified libraries read `time.monotonic`, `os.urandom`, the module-level `random` functions or
generators that they made at import, and they create sockets. While a world runs, all of these
answer from the world and from the node that is being executed. The replacements stay harmless
when they outlive a run (a module imported inside the world keeps them): without a running world
they call the real thing.

Not covered, because C code does not ask Python: `datetime.now()` and OpenSSL's generator. The
architecture test bans the first; the second is why peers speak authenticated plaintext here.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from peerdisco_sim.errors import EscapedSimulation
from peerdisco_sim.streams import stream

if TYPE_CHECKING:
    from peerdisco_sim.world import World

_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(time, name)
    for name in (
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "perf_counter_ns",
        "sleep",
        "gmtime",
        "localtime",
    )
} | {"urandom": os.urandom, "seed": random.Random.seed}


class _Running:
    """Which world is running; at most one at a time in a process."""

    world: World | None = None


def running_world() -> World | None:
    """The world whose event is being executed, or None outside of every run."""
    return _Running.world


def _wall() -> float:
    world = _Running.world
    return _REAL["time"]() if world is None else world.wall_time()


def _wall_ns() -> int:
    world = _Running.world
    return _REAL["time_ns"]() if world is None else int(world.wall_time() * 1e9)


def _monotonic() -> float:
    world = _Running.world
    return _REAL["monotonic"]() if world is None else world.local_time()


def _monotonic_ns() -> int:
    world = _Running.world
    return _REAL["monotonic_ns"]() if world is None else int(world.local_time() * 1e9)


def _perf_counter() -> float:
    world = _Running.world
    return _REAL["perf_counter"]() if world is None else world.local_time()


def _perf_counter_ns() -> int:
    world = _Running.world
    return _REAL["perf_counter_ns"]() if world is None else int(world.local_time() * 1e9)


def _sleep(seconds: float) -> None:
    world = _Running.world
    if world is None:
        _REAL["sleep"](seconds)
    else:
        world.escaped("time.sleep")


def _gmtime(seconds: float | None = None) -> time.struct_time:
    moment: time.struct_time = _REAL["gmtime"](_wall() if seconds is None else seconds)
    return moment


def _localtime(seconds: float | None = None) -> time.struct_time:
    moment: time.struct_time = _REAL["localtime"](_wall() if seconds is None else seconds)
    return moment


def _urandom(size: int, /) -> bytes:
    world = _Running.world
    return _REAL["urandom"](size) if world is None else world.ambient_bytes(size)


def _seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """`Random()` without a seed takes one from the operating system: here, from the world.

    All get the same one, as generators made before the world began do: whether a module was
    imported before or inside the world must make no difference.
    """
    if a is None and _Running.world is not None:
        a = f"{_Running.world.seed}/library"
    _REAL["seed"](self, a, version)


_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "time": _wall,
    "time_ns": _wall_ns,
    "monotonic": _monotonic,
    "monotonic_ns": _monotonic_ns,
    "perf_counter": _perf_counter,
    "perf_counter_ns": _perf_counter_ns,
    "sleep": _sleep,
    "gmtime": _gmtime,
    "localtime": _localtime,
    "urandom": _urandom,
}


class _Scan:
    """What the last walk over the loaded modules found; repeated when modules were added."""

    modules: int = 0
    sites: list[tuple[dict[str, Any], str, str]] = []  # noqa: RUF012 - replaced, never changed
    generators: list[weakref.ref[random.Random]] = []  # noqa: RUF012 - likewise


def _scan() -> type[_Scan]:
    """Finds names bound to the real functions and random generators made by libraries."""
    if _Scan.modules == len(sys.modules):
        return _Scan
    names = {id(real): name for name, real in _REAL.items() if name in _REPLACEMENTS}
    _Scan.sites = [
        (vars(module), attribute, names[id(value)])
        for module in list(sys.modules.values())
        if module is not None and hasattr(module, "__dict__")
        for attribute, value in list(vars(module).items())
        if id(value) in names
    ]
    _Scan.generators = [weakref.ref(o) for o in gc.get_objects() if type(o) is random.Random]
    _Scan.modules = len(sys.modules)
    return _Scan


class Ambient:
    """One world's share of the process-wide state, kept between its runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._global_state = stream(world.seed, "global").getstate()
        self._library_states: dict[int, Any] = {}
        self._found: type[_Scan] = _Scan

    def look_around(self) -> None:
        """Find what the modules loaded so far hold; what is loaded later sees the world anyway."""
        self._found = _scan()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While this is entered, clocks, randomness and sockets are the world's."""
        if _Running.world is not None:
            raise EscapedSimulation("a world is running already")
        found = self._found
        undo = [(names, attribute, names[attribute]) for names, attribute, _ in found.sites]
        for names, attribute, key in found.sites:
            names[attribute] = _REPLACEMENTS[key]
        real_socket, outer_state = socket.socket, random.getstate()
        generators = [g for g in (ref() for ref in found.generators) if g is not None]
        outer_states = self._lend_generators(generators)
        random.setstate(self._global_state)
        socket.socket = self._world.socket_class  # type: ignore[misc,assignment]  # replaced on purpose
        random.Random.seed = _seed  # type: ignore[method-assign]  # likewise
        _Running.world = self._world
        try:
            yield
        finally:
            _Running.world = None
            random.Random.seed = _REAL["seed"]  # type: ignore[method-assign]  # restored
            socket.socket = real_socket  # type: ignore[misc]  # restored
            self._global_state = random.getstate()
            random.setstate(outer_state)
            self._take_back(generators, outer_states)
            for names, attribute, value in undo:
                names[attribute] = value

    def _lend_generators(self, generators: list[random.Random]) -> list[Any]:
        outer = [generator.getstate() for generator in generators]
        for generator in generators:
            state = self._library_states.get(id(generator))
            if state is None:
                # All alike: how many there are before this one depends on the host process.
                _REAL["seed"](generator, f"{self._world.seed}/library")
            else:
                generator.setstate(state)
        return outer

    def _take_back(self, generators: list[random.Random], outer: list[Any]) -> None:
        self._library_states = {id(g): g.getstate() for g in generators}
        for generator, state in zip(generators, outer, strict=True):
            generator.setstate(state)
