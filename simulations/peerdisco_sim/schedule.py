"""A schedule: everything that happens to a cluster, as data.

One JSON file says how big the cluster is, what it is asked to do and which disasters befall it,
when. The generator (`swarm.py`) writes them, people do, and `shrink.py` makes them smaller; the
simulator (`play.py`) and real processes (`real.py`) play the same file. What a fault's `kind` means
is in `faults.py`, what its `target` means in `nemesis.py`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from peerdisco_sim.version import code_version

FORMAT = 1
NODES_MAX = 10_000
FAULTS_MAX = 100_000
Value = float | int | str | bool


class BadSchedule(ValueError):
    """A file that is no schedule; says which field is wrong. Nothing was played."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One disaster.

    Attributes:
        at: Seconds after the storm began.
        kind: What happens; a key of `faults.FAULTS`.
        target: To whom: a node's name ("n3") or a selector that reads the cluster's state when the
            fault fires ("coordinator", "leader:new", "holder:last", ...; see `nemesis.py`).
            Empty for faults that concern the whole network.
        params: How badly; each kind has defaults.
    """

    at: float
    kind: str
    target: str = ""
    params: dict[str, Value] = {}


class WorkloadSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something the cluster is asked to do meanwhile.

    Attributes:
        kind: A key of `workloads.WORKLOADS`.
        params: How much of it; each kind has defaults.
    """

    kind: str
    params: dict[str, Value] = {}


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole play.

    Attributes:
        format: Of this file.
        seed: Names the random streams of what is not written here: delays, torn writes, draws.
        nodes: How many daemons there are at the beginning.
        duration_s: Length of the storm, in virtual seconds.
        knobs: Settings of the product that differ from their defaults, by name.
        network: Fields of `network.Conditions` that hold while no fault changes them.
        workloads: What the cluster is asked to do.
        faults: What befalls it, in order of time.
        checkers: Names of those that judge; empty for all.
        heal: Whether a healthy core is healed after the storm and must come to rest.
        why: What this schedule once found, or is kept for.
        code: The code with which it was written; a hint, since a seed means something else after
            a change.
    """

    format: int = FORMAT
    seed: int = 1
    nodes: int = 5
    duration_s: float = 60.0
    knobs: dict[str, Value] = {}
    network: dict[str, float] = {}
    workloads: tuple[WorkloadSpec, ...] = ()
    faults: tuple[Fault, ...] = ()
    checkers: tuple[str, ...] = ()
    heal: bool = True
    why: str = ""
    code: str = ""

    def encode(self) -> bytes:
        """The file: indented JSON, one field a line."""
        stamped = msgspec.structs.replace(self, code=self.code or code_version())
        return msgspec.json.format(msgspec.json.encode(stamped), indent=1) + b"\n"


def decode_schedule(data: bytes) -> Schedule:
    """The schedule in a file. Raises BadSchedule."""
    try:
        schedule = msgspec.json.decode(data, type=Schedule)
    except msgspec.MsgspecError as error:
        raise BadSchedule(f"this is not a schedule: {error}") from None
    if schedule.format != FORMAT:
        raise BadSchedule(f"format {schedule.format} is not known here; this is {FORMAT}")
    if not 1 <= schedule.nodes <= NODES_MAX:
        raise BadSchedule(f"nodes must be between 1 and {NODES_MAX}, not {schedule.nodes}")
    if len(schedule.faults) > FAULTS_MAX:
        raise BadSchedule(f"more than {FAULTS_MAX} faults")
    return schedule


def read_schedule(path: Path) -> Schedule:
    """The schedule in that file. Raises BadSchedule or OSError."""
    return decode_schedule(path.read_bytes())
