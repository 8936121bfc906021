"""Messages and effects as lines of a play."""

from __future__ import annotations

from peerdisco_election.effects import (
    Apply,
    Changed,
    Effect,
    LeaderChanged,
    Persist,
    ReadFailed,
    ReadReady,
    Restore,
)
from peerdisco_election.membership import configuration_of
from peerdisco_election.messages import Configuration, Entry, EntryKind, GroupMessage


def message(said: GroupMessage) -> str:
    """What is said."""
    words = [type(said).__name__]
    for field in said.__struct_fields__:
        value = getattr(said, field)
        if field == "entries":
            words += [entry(one) for one in value]
        elif isinstance(value, Configuration):
            words.append(members(value))
        elif field == "granted":
            words.append("granted" if value else "refused")
        elif value is True:
            words.append(field)
        elif field == "term" or value not in (False, 0, b""):
            words.append(f"{field}={value}")
    return " ".join(words)


def effect(done: Effect) -> str | None:
    """What is done, or None for what shows elsewhere."""
    match done:
        case Persist():
            hard = done.hard_state
            words = [f"writes {done.number}: term={hard.term} vote={hard.vote or '-'}"]
            words += [f"commit={hard.commit}"]
            words += [f"erase={done.erase[0]}-{done.erase[1]}"] if done.erase else []
            words += [f"snapshot={done.snapshot.index}"] if done.snapshot else []
            return " ".join([*words, *map(entry, done.entries)])
        case Apply():
            return "applies " + " ".join(map(entry, done.entries))
        case Restore():
            return f"restores {done.snapshot.index}"
        case LeaderChanged():
            return f"sees leader {done.leader or '-'} in term {done.term}"
        case ReadReady():
            return f"may read at {done.index}"
        case ReadFailed():
            return "may not read"
        case Changed():
            return f"has changed to {members(done.configuration)}"
        case _:
            return None


def entry(one: Entry) -> str:
    """Index, term and content."""
    if one.kind is EntryKind.CONFIGURATION:
        said = members(configuration_of(one))
    else:
        command = ascii(one.data.decode(errors="backslashreplace"))[1:-1]
        said = command if one.kind is EntryKind.COMMAND else "empty"
    return f"[{one.index}.{one.term} {said}]"


def members(value: Configuration) -> str:
    """Voters, and who leaves or learns."""
    parts = ["".join(value.voters)]
    parts += ["out=" + "".join(value.outgoing)] if value.outgoing else []
    parts += ["learn=" + "".join(value.learners)] if value.learners else []
    return "(" + " ".join(parts) + ")"
