"""What must hold of blobs, as events arrive. Pure; `blobs.py` listens to the real shelves.

B1  an acknowledged blob has enough durable copies then, and one at all times
B3  no blob is there that nobody stored
B4  no part of a blob is ever taken for the whole
B6  nothing is dropped that somebody still needs
"""

from __future__ import annotations

from collections.abc import Sequence

from peerdisco_sim.checkers.raft_rules import Fail


class BlobRules:
    """The judge of all blobs of a cluster.

    Attributes:
        acknowledged: Blobs that must not get lost, with their owners.
    """

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self.acknowledged: dict[str, dict[str, None]] = {}
        self._begun: dict[str, None] = {}
        self._released: dict[tuple[str, str], None] = {}

    def begun(self, blob: str) -> None:
        """Somebody is storing a blob with this content (B3)."""
        self._begun[blob] = None

    def acked(
        self, node: str, blob: str, owner: str, holders: Sequence[str], *, enough: bool
    ) -> None:
        """A put was acknowledged while these machines had durable copies (B1, B9)."""
        self.acknowledged.setdefault(blob, {})[owner] = None
        self._released.pop((blob, owner), None)
        if not enough:
            detail = f"{blob[:15]} is durable on {list(holders)} only"
            self._fail("B1 acknowledged too early", detail, node)

    def released(self, blob: str, owner: str) -> None:
        """The owner asked for it to be deleted: from now on it may go."""
        self._released[blob, owner] = None

    def must_live(self, blob: str) -> bool:
        """Whether an owner with an acknowledged put has not asked for its deletion."""
        owners = self.acknowledged.get(blob, {})
        return any((blob, owner) not in self._released for owner in owners)

    def dropped(self, node: str, blob: str) -> None:
        """A shelf deletes its copy since no pin is left (B6)."""
        if self.must_live(blob):
            self._fail("B6 needed blob dropped", f"{blob[:15]} still has an owner", node)

    def counted(self, blob: str, holders: Sequence[str]) -> None:
        """These machines have durable and intact copies (B1)."""
        if self.must_live(blob) and not holders:
            self._fail("B1 blob lost", f"nobody has an intact copy of {blob[:15]}", "")

    def on_shelf(self, node: str, blob: str, *, intact: bool, rotten: bool) -> None:
        """An index row says that a copy is there (B3, B4). `rotten`: a fault damaged it."""
        if blob not in self._begun:
            self._fail("B3 phantom", f"nobody ever stored {blob[:15]}", node)
        if not intact and not rotten:
            self._fail("B4 partial blob", f"{blob[:15]} is listed, but not whole", node)
