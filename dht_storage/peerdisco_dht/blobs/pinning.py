"""Pinning: what a tag is about to name must be there, and must stay.

Before a change of a tag commits, the blobs that it names are pinned at their homes: a home that
holds the bytes gives the copy a fresh lease, takes it out of the trash, and only then says yes. So
between an upload, its tag and a garbage collection there is no order of events that loses a blob:
the collection leaves leased and freshly touched copies alone, and the next one finds the tag.

A blob that was stored through this node for the same owner a moment ago was pinned and leased by
its put, and is not asked about.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from peerdisco_dht.blobs.acknowledgement import QUORUM_COPIES
from peerdisco_dht.blobs.identity import check_id, partition_of_blob
from peerdisco_dht.blobs.messages import BATCH_MAX, Copy, PinAsks, Stored, StoredItems
from peerdisco_dht.blobs.pins import pin
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.errors import BadName, NoSuchBlob, Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import Members, NodeId

PIN = "dht/blob/pin"
URL = "blob:"
EPOCH_CHANGES_MAX = 4
"""Layouts that may come in between before a pinning is given up."""
RECENT_MAX = 50_000
RECENT_S = 600.0
RECENT_SHARE = 4
"""A put through this node counts as a pin for so long, at most this part of its lease."""


class Pinner:
    """Pins blobs at their homes, and answers for the copies of this node.

    Args:
        shelf: The copies on this node.
        unique: Numbers of pins.
        repair: Told of blobs that have fewer copies than they should.
    """

    def __init__(
        self,
        shelf: Shelf,
        epochs: EpochRpc,
        keeper: LayoutKeeper,
        members: Members,
        unique: Callable[[], str],
        config: StorageConfig,
    ) -> None:
        self._shelf = shelf
        self._epochs = epochs
        self._keeper = keeper
        self._members = members
        self._unique = unique
        self._config = config
        self._recent: OrderedDict[tuple[str, str], float] = OrderedDict()
        epochs.serve(PIN, self._answer)

    def note_put(self, blob: str, owner: str, began: float) -> None:
        """A put that began at a time was acknowledged: enough nodes pin and lease the blob."""
        self._recent[blob, owner] = began
        self._recent.move_to_end((blob, owner))
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)

    async def pin_urls(
        self, entries: Sequence[Sequence[str]], owner: str, *, missing_ok: bool = False
    ) -> None:
        """Pin every blob among the URLs of entries; raises as `pin`, and BadName."""
        blobs = [url for entry in entries for url in entry if url.startswith(URL)]
        await self.pin([url.removeprefix(URL) for url in blobs], owner, missing_ok=missing_ok)

    async def pin(self, blobs: Sequence[str], owner: str, *, missing_ok: bool = False) -> None:
        """Return when enough copies of each blob are safe from the garbage collection.

        Raises NoSuchBlob when everybody answered and nobody holds one of them (unless
        `missing_ok`), Unavailable when too few nodes could be asked.
        """
        recent_s = min(RECENT_S, self._config.lease_s / RECENT_SHARE)
        since = asyncio.get_running_loop().time() - recent_s
        wanted = [
            check_id(blob)
            for blob in dict.fromkeys(blobs)
            if self._recent.get((blob, owner), since) <= since
        ]
        if not wanted:
            return
        name = pin(owner, self._unique())
        for _ in range(EPOCH_CHANGES_MAX):
            try:
                await self._pin(wanted, name, missing_ok=missing_ok)
            except StaleEpoch:
                continue
            return
        raise Unavailable("the layout changes too fast")

    async def _pin(self, blobs: Sequence[str], name: str, *, missing_ok: bool) -> None:
        homes = {blob: self._keeper.home(partition_of_blob(blob)) for blob in blobs}
        if not all(homes.values()):
            raise Unavailable("this node knows no layout yet")
        held, _ = await self._ask(homes, name)
        lacking = [
            blob for blob in blobs if held.get(blob, 0) < min(QUORUM_COPIES, len(homes[blob]))
        ]
        if not lacking:
            return
        nodes = [node.id for node in self._keeper.layout.nodes]
        everybody = tuple(dict.fromkeys([*self._members.alive(), *nodes]))
        held, silent = await self._ask(dict.fromkeys(lacking, everybody), name)
        for blob in lacking:
            copies = held.get(blob, 0)
            if copies < min(QUORUM_COPIES, len(homes[blob])) and silent:
                raise Unavailable(f"{copies} copies of {blob} can be reached; {silent[0]} silent")
            if not copies and not missing_ok:
                raise NoSuchBlob(blob)

    async def _ask(
        self, whom: dict[str, tuple[NodeId, ...]], name: str
    ) -> tuple[dict[str, int], list[NodeId]]:
        """How many of them hold each blob and pinned it, and who did not answer."""
        asks: dict[NodeId, list[str]] = {}
        for blob, nodes in whom.items():
            for node in nodes:
                asks.setdefault(node, []).append(blob)
        answers = await ask_all(list(asks), lambda node: self._ask_node(node, asks[node], name))
        held: dict[str, int] = {}
        silent: list[NodeId] = []
        for node, answer in answers.items():
            if isinstance(answer, StaleEpoch):
                raise answer
            if isinstance(answer, Exception):
                silent.append(node)
                continue
            for blob in answer:
                held[blob] = held.get(blob, 0) + 1
        return held, silent

    async def _ask_node(self, node: NodeId, blobs: list[str], name: str) -> list[str]:
        """Which of the blobs a node holds; they are pinned there when this returns."""
        held = []
        for start in range(0, len(blobs), BATCH_MAX):
            some = blobs[start : start + BATCH_MAX]
            body = encode(PinAsks(tuple(some), name))
            data = await self._epochs.call(node, PIN, body, timeout_s=self._config.call_timeout_s)
            stored = decode(data, StoredItems).items
            if len(stored) != len(some):
                raise BadMessage(f"{node} answered {len(stored)} of {len(some)} items")
            held += [b for b, s in zip(some, stored, strict=True) if s.copy is Copy.HELD]
        return held

    async def _answer(self, peer: NodeId, body: bytes) -> bytes:
        """All at once, so that the changed rows share one commit."""
        del peer
        request = decode(body, PinAsks)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._pin_one(blob, request.pin))
                for blob in request.ids[:BATCH_MAX]
            ]
        return encode(StoredItems(tuple(task.result() for task in tasks)))

    async def _pin_one(self, blob: str, name: str) -> Stored:
        try:
            return await self._shelf.pin(check_id(blob), name)
        except (OSError, BadName) as error:
            return Stored(Copy.FAILED, reason=str(error))
