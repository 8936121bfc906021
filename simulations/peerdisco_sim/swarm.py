"""A schedule for every seed: how big, what knobs, which work, which mix of disasters.

Swarm testing: each seed leaves most kinds of faults and most knobs out, because a mix of
everything all the time is one mix only, and faults hide each other. Everything is drawn up front;
only the selectors of `nemesis.py` are decided when a fault fires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from peerdisco_sim.faults import FAULTS
from peerdisco_sim.knobs import draw_knobs
from peerdisco_sim.schedule import Fault, Schedule, Value, WorkloadSpec
from peerdisco_sim.streams import Stream, stream

DURATION_S = 60.0
FAULTS_PER_S = (0.3, 2.0)
SIZES = (3, 3, 4, 5, 5, 5, 7)
KNOB_SHARES = (0.0, 0.15, 0.4)
KINDS_SHARE = 0.4
KINDS_MIN = 3
QUIET_START_S = 1.0
ACCEPTABLE_LOSS = 0.02

Draw = Callable[[Stream], Value]

TARGETS: Mapping[str, Sequence[str]] = {
    "partition": ("half", "minority", "leader:new", "coordinator", "any", "holder:last", "writer"),
    "swizzle": ("half", "minority", "all"),
    "disk_loss": ("any", "follower", "worker"),
    "bit_rot": ("any", "holder:last", "all"),
    "worker_kill": ("worker",),
    "pause": ("any", "any:2", "coordinator", "leader:layout", "leader:new", "worker", "follower"),
    "clog": ("any", "half", "coordinator", "leader:layout", "writer"),
    "clock_jump": ("any", "all", "coordinator"),
}
"""Whom each kind hits, evenly; others hit `_DEFAULT_TARGETS`."""

_DEFAULT_TARGETS = (
    "any",
    "any",
    "coordinator",
    "leader:new",
    "leader:layout",
    "follower",
    "worker",
    "holder:last",
    "writer",
    "joined:new",
)
_WEIGHTS = {"join": 0.15, "disk_loss": 0.1, "clock_jump": 0.3, "disk_full": 0.5}
"""How often a kind comes, compared with others."""

_PARAMS: Mapping[str, Mapping[str, Draw]] = {
    "kill": {"back_s": lambda d: _seconds(d, 0.2, 15.0)},
    "power_cut": {"back_s": lambda d: _seconds(d, 0.5, 15.0)},
    "crash_at_step": {
        "steps": lambda d: d.choice((1, 2, 3, 5, 8, 13, 21, 34, 55)),
        "power": lambda d: d.random() < 0.7,
        "back_s": lambda d: _seconds(d, 0.5, 10.0),
    },
    "stop": {"back_s": lambda d: _seconds(d, 0.2, 10.0)},
    "pause": {"for_s": lambda d: _seconds(d, 0.2, 10.0)},
    "slow": {
        "for_s": lambda d: _seconds(d, 1.0, 10.0),
        "step_s": lambda d: _seconds(d, 0.0005, 0.01),
    },
    "clock_jump": {"by_s": lambda d: d.choice((-3600.0, -5.0, -0.5, 0.5, 5.0, 3600.0, 1e6))},
    "partition": {"for_s": lambda d: _seconds(d, 0.5, 15.0), "clients": lambda d: d.random() < 0.3},
    "one_way": {"for_s": lambda d: _seconds(d, 0.5, 12.0), "mute": lambda d: d.random() < 0.5},
    "cut_link": {"for_s": lambda d: _seconds(d, 0.5, 20.0)},
    "clog": {"for_s": lambda d: _seconds(d, 0.2, 5.0)},
    "swizzle": {"for_s": lambda d: _seconds(d, 3.0, 15.0)},
    "degrade": {
        "for_s": lambda d: _seconds(d, 1.0, 15.0),
        "latency_s_max": lambda d: _seconds(d, 0.002, 0.3),
        "loss": lambda d: d.choice((0.0, 0.02, 0.1, 0.3)),
        "duplicate": lambda d: d.choice((0.0, 0.1, 0.5)),
        "reorder": lambda d: d.choice((0.0, 0.1, 0.5)),
        "bytes_per_s": lambda d: d.choice((0.0, 0.0, 1e6)),
    },
    "bad_link": {
        "for_s": lambda d: _seconds(d, 1.0, 15.0),
        "latency_s_max": lambda d: _seconds(d, 0.01, 0.5),
        "loss": lambda d: d.choice((0.0, 0.1, 0.5)),
    },
    "disk_error": {
        "for_s": lambda d: _seconds(d, 0.2, 6.0),
        "what": lambda d: d.choice(("read", "write", "sync")),
    },
    "disk_full": {"for_s": lambda d: _seconds(d, 0.5, 8.0)},
    "disk_slow": {
        "for_s": lambda d: _seconds(d, 1.0, 10.0),
        "factor": lambda d: d.choice((3.0, 30.0, 200.0)),
    },
    "bit_rot": {"files": lambda d: d.randint(1, 3)},
    "disk_loss": {"back_s": lambda d: _seconds(d, 1.0, 10.0)},
    "worker_crash": {
        "for_s": lambda d: _seconds(d, 1.0, 8.0),
        "chance": lambda d: d.choice((0.05, 0.3, 1.0)),
    },
    "worker_hang": {
        "for_s": lambda d: _seconds(d, 1.0, 8.0),
        "chance": lambda d: d.choice((0.05, 0.3)),
    },
    "worker_slow": {
        "for_s": lambda d: _seconds(d, 1.0, 10.0),
        "factor": lambda d: d.choice((5.0, 20.0, 100.0)),
    },
}


def generate(
    seed: int,
    workloads: Mapping[str, object],
    *,
    duration_s: float = DURATION_S,
    nodes: int | None = None,
) -> Schedule:
    """The schedule of a seed.

    Args:
        seed: Everything follows from it.
        workloads: The names to choose from.
        duration_s: Length of the storm.
        nodes: How many nodes, unless the seed decides.
    """
    draws = stream(seed, "swarm")
    count = nodes or draws.choice(SIZES)
    return Schedule(
        seed=seed,
        nodes=count,
        duration_s=duration_s,
        knobs=draw_knobs(stream(seed, "swarm", "knobs"), draws.choice(KNOB_SHARES)),
        network=_network(draws),
        workloads=_work(stream(seed, "swarm", "work"), list(workloads)),
        faults=draw_faults(stream(seed, "swarm", "faults"), duration_s),
    )


def _network(draws: Stream) -> dict[str, float]:
    """How the network usually is: a quiet one, a lossy one, or one that is far away."""
    kind = draws.choice(("quiet", "lossy", "far"))
    if kind == "quiet":
        return {}
    if kind == "lossy":
        return {
            "loss": round(draws.uniform(0.001, ACCEPTABLE_LOSS), 4),
            "duplicate": 0.02,
            "reorder": 0.05,
        }
    return {"latency_s_min": 0.005, "latency_s_max": 0.03}


def _work(draws: Stream, names: list[str]) -> tuple[WorkloadSpec, ...]:
    """One or two kinds of work."""
    number = draws.choice((1, 1, 1, 2))
    chosen = draws.sample(names, min(number, len(names)))
    return tuple(WorkloadSpec(name) for name in names if name in chosen)


def draw_faults(
    draws: Stream, duration_s: float, *, rate: float | None = None
) -> tuple[Fault, ...]:
    """A mix of a few kinds, at so many a second; any usual rate when None."""
    kinds = [kind for kind in FAULTS if draws.random() < KINDS_SHARE]
    while len(kinds) < KINDS_MIN:
        kinds.append(draws.choice(list(FAULTS)))
    weights = [_WEIGHTS.get(kind, 1.0) for kind in kinds]
    rate = draws.uniform(*FAULTS_PER_S) if rate is None else rate
    faults = []
    at = QUIET_START_S
    while (at := at + draws.expovariate(rate)) < duration_s:
        kind = draws.choices(kinds, weights)[0]
        faults.append(_fault(draws, kind, round(at, 3)))
    return tuple(faults)


def _fault(draws: Stream, kind: str, at: float) -> Fault:
    target = ""
    if FAULTS[kind].needs_target:
        target = draws.choice(TARGETS.get(kind, _DEFAULT_TARGETS))
    params: dict[str, Value] = {name: draw(draws) for name, draw in _PARAMS.get(kind, {}).items()}
    if target == "leader:new":
        # The first moments of a leader are the dangerous ones (Raft, figure 8).
        params["after_s"] = round(draws.uniform(0.0, 0.1), 4)
    return Fault(at, kind, target, params)


def _seconds(draws: Stream, least: float, most: float) -> float:
    """A time between the two, short ones more often."""
    value: float = least * (most / least) ** draws.random()
    return round(value, 4)
