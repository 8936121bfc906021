"""What must hold of the acceptors of registers (CASPaxos), across restarts too. Pure.

T1  an acceptor that promised a ballot accepts no lower one, and promises no lower one
T2  an acceptor takes no request in an older epoch than it has answered in
"""

from __future__ import annotations

from peerdisco_sim.checkers.raft_rules import Fail

Ballot = tuple[int, str]


class AcceptorRules:
    """The judge of all acceptors of a cluster. O(1) an answer."""

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._promised: dict[tuple[str, str], Ballot] = {}
        self._epochs: dict[str, int] = {}
        self.accepted = 0
        """How many acceptances were given."""

    def asked(self, node: str, epoch: int) -> None:
        """An acceptor begins to answer under a layout (T2)."""
        before = self._epochs.get(node, 0)
        if epoch < before:
            self._fail("T2 epoch went back", f"from {before} to {epoch}", node)

    def answered(self, node: str, epoch: int) -> None:
        """It has answered what it was asked under that layout."""
        self._epochs[node] = max(self._epochs.get(node, 0), epoch)

    def promise(self, node: str, register: str, ballot: Ballot) -> None:
        """It granted a Prepare (T1)."""
        self._require(node, register, ballot, "promised")

    def accept(self, node: str, register: str, ballot: Ballot, upcoming: Ballot) -> None:
        """It granted an Accept, which promises the upcoming ballot too (T1)."""
        self.accepted += 1
        self._require(node, register, ballot, "accepted")
        self._require(node, register, max(ballot, upcoming), "promised")

    def _require(self, node: str, register: str, ballot: Ballot, what: str) -> None:
        before = self._promised.get((node, register), (0, ""))
        if ballot < before:
            detail = f"{register}: {what} {ballot} after it had promised {before}"
            self._fail("T1 promise broken", detail, node)
        self._promised[node, register] = max(before, ballot)
