"""Configurations as values: how one becomes the next, and what a peer may send (section 6).

Pure functions. When a configuration takes effect is decided in `core.py`: when it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable

from peerdisco_election.messages import (
    Append,
    BadMessage,
    Configuration,
    Entry,
    EntryKind,
    GroupMessage,
    decode,
    encode,
)


def configuration(
    voters: Iterable[str], outgoing: Iterable[str] = (), learners: Iterable[str] = ()
) -> Configuration:
    """A configuration in its one canonical form: sorted, distinct, no voting learner."""
    kept = sorted(set(voters))
    learning = sorted(set(learners) - set(kept))
    return Configuration(tuple(kept), tuple(sorted(set(outgoing))), tuple(learning))


def enter_joint(
    current: Configuration, voters: Iterable[str], learners: Iterable[str]
) -> Configuration:
    """From a simple configuration to the joint one that leads to the given members."""
    assert not current.outgoing, "one change at a time"
    return configuration(voters, current.voters, learners)


def leave_joint(current: Configuration) -> Configuration:
    """From a joint configuration to the new members alone."""
    return configuration(current.voters, (), current.learners)


def configuration_entry(index: int, term: int, value: Configuration) -> Entry:
    """An entry that puts a configuration in force."""
    return Entry(index, term, EntryKind.CONFIGURATION, encode(value))


def configuration_of(entry: Entry) -> Configuration:
    """The configuration in an entry of that kind; raises BadMessage."""
    value = decode(entry.data, Configuration)
    if not value.voters:
        raise BadMessage("a configuration without voters")
    return value


def well_formed(message: GroupMessage) -> bool:
    """Whether a message obeys what its types cannot say; no correct peer sends any other."""
    if not isinstance(message, Append):
        return True
    term = message.previous_term
    for index, entry in enumerate(message.entries, message.previous_index + 1):
        if entry.index != index or not term <= entry.term <= message.term:
            return False
        term = entry.term
        if entry.kind is EntryKind.CONFIGURATION and not _readable(entry):
            return False
    return True


def _readable(entry: Entry) -> bool:
    try:
        configuration_of(entry)
    except BadMessage:
        return False
    return True
