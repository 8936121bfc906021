"""Offering a room's settings to the machine, which may answer with other values.

Real machines answer with the defaults. The simulator answers with values drawn per seed, so that
small batches, short caches and impatient timeouts meet the same disasters as the settings that
people run. Which settings may be turned, and how far, is the simulator's business
(`peerdisco_sim.knobs`); here each number of a configuration gets its name: `raft.append_bytes_max`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

from peerdisco.machine import Knob

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    C = TypeVar("C", bound=DataclassInstance)
else:
    C = TypeVar("C")


def tuned(knob: Knob, room: str, config: C) -> C:
    """The configuration with each number, also in nested ones, as `knob` wants it.

    Values of the same type only; contradictions are refused by the configuration itself.
    """
    changes: dict[str, object] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            wanted: object = tuned(knob, f"{room}.{field.name}", value)
        elif type(value) in (int, float):
            wanted = knob(f"{room}.{field.name}", value)
        else:
            continue
        if wanted is not value:
            assert type(wanted) is type(value), f"{room}.{field.name} is a {type(value).__name__}"
            changes[field.name] = wanted
    return dataclasses.replace(config, **changes) if changes else config
