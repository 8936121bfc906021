"""`--set NAME=VALUE`: any number that a room of the node is configured with, by its name.

The names are those that each room asks the machine for (`peerdisco.knobs`), such as
`storage.repair_bytes_per_s`; what they mean is said in the configurations of the rooms. Numbers may
be written with K, M, G or T, powers of 1024.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from peerdisco.coordination import CoordinationConfig
from peerdisco.errors import ConfigurationError
from peerdisco.execution import ExecutionConfig
from peerdisco.knobs import tuned
from peerdisco.machine import Knob
from peerdisco_dht import StorageConfig, UpkeepConfig
from peerdisco_election import RaftConfig
from peerdisco_gossip import GossipConfig

T = TypeVar("T")
Number = int | float
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def known_settings() -> Mapping[str, Number]:
    """All settings by name, with their defaults for a network."""
    found: dict[str, Number] = {}

    def note(name: str, default: T) -> T:
        assert isinstance(default, int | float)
        found[name] = default
        return default

    _configure(note)
    return found


def parse_settings(texts: Sequence[str]) -> Mapping[str, Number]:
    """The settings that somebody wrote as NAME=VALUE; raises ConfigurationError."""
    known = known_settings()
    chosen: dict[str, Number] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"a setting is NAME=VALUE, not {text!r}")
        if name not in known:
            raise ConfigurationError(f"there is no setting {name!r}{_similar(name, known)}")
        chosen[name] = _number(name, value, type(known[name]))
    try:
        _configure(knob_of(chosen))
    except ValueError as error:
        raise ConfigurationError(f"these settings do not go together: {error}") from error
    return chosen


def knob_of(chosen: Mapping[str, Number]) -> Knob:
    """The knob of a machine on which some settings have other values."""

    def knob(name: str, default: T) -> T:
        return chosen.get(name, default)  # type: ignore[return-value]  # of the default's type

    return knob


def _configure(knob: Knob) -> None:
    """Make the configurations of all rooms, as a node does."""
    tuned(knob, "gossip", GossipConfig())
    tuned(knob, "raft", RaftConfig())
    tuned(knob, "storage", StorageConfig())
    tuned(knob, "layout", UpkeepConfig())
    tuned(knob, "coordination", CoordinationConfig())
    tuned(knob, "execution", ExecutionConfig())


def _number(name: str, text: str, kind: type) -> Number:
    digits, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    try:
        value: Number = int(digits) * unit if kind is int else float(digits) * unit
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{name} is {what}, not {text!r}") from None
    if value < 0 or not math.isfinite(value):
        raise ConfigurationError(f"{name} is not {text}")
    return value


def _similar(name: str, known: Mapping[str, Number]) -> str:
    similar = difflib.get_close_matches(name, known, 3)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""
