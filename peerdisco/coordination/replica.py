"""`JobReplica`: one voter's copy of a job's state, as the state machine of the job's group.

It turns log entries into facts and tells whoever waits that something changed. All rules are in
`state.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from peerdisco.coordination.facts import Batch, Fact
from peerdisco.coordination.state import JobState
from peerdisco.messages import decode, encode


def command(facts: Sequence[Fact]) -> bytes:
    """The log entry of facts that are committed together."""
    return encode(Batch(tuple(facts)))


class JobReplica:
    """The state machine that `election` replicates (see its `StateMachine`).

    Attributes:
        state: The committed state. Read it; only `apply` and `restore` change it.
        on_change: Called after every change.
    """

    def __init__(self) -> None:
        self.state = JobState()
        self.on_change: Callable[[], None] | None = None

    def apply(self, index: int, command: bytes) -> None:  # noqa: ARG002 - election's signature
        """Apply a committed entry. Raises BadMessage when it is not from this version's family."""
        for fact in decode(command, Batch).facts:
            self.state.apply(fact)
        self._changed()

    def snapshot(self) -> bytes:
        """All state so far."""
        return self.state.snapshot()

    def restore(self, data: bytes) -> None:
        """Replace all state by that of a snapshot."""
        self.state = JobState.restored(data)
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
