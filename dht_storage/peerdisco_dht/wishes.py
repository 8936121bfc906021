"""Telling homes at once when a tag wants more copies of what it names.

The node that coordinates a tag sees every new head. When the tag has a number of copies of its own,
it tells the homes of the blobs that the head names, and these let repair bring the missing copies.
Only more copies are asked for this way: fewer are a matter of all tags together, which only a
garbage collection knows. What is lost here, the next collection tells too.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from peerdisco_dht.background import Background
from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.messages import BATCH_MAX, Wish
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.errors import StorageError, Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import NodeId, Rpc
from peerdisco_dht.tags.head import TagHead
from peerdisco_dht.wanted import USUAL, Wanted, replicas_of

logger = logging.getLogger(__name__)

WISH = "dht/blob/wish"
TOLD_MAX = 50_000
"""Blobs that need not be told again; forgetting one costs a message."""


class Wishes:
    """Tells homes of wishes, and takes them for this node.

    Args:
        shelf: This node's copies.
        wanted: What a number of copies means.
        keeper: The layout.
        rpc: Calls to and from peers.
        named: Ids of all blobs that a head names; raises StorageError.
        repair: Looks after a blob on this node soon.
        background: Parent of what is under way.
        timeout_s: Patience with one call.
    """

    def __init__(
        self,
        shelf: Shelf,
        wanted: Wanted,
        keeper: LayoutKeeper,
        rpc: Rpc,
        named: Callable[[TagHead], Awaitable[Sequence[str]]],
        repair: Callable[[str], None],
        background: Background,
        timeout_s: float,
    ) -> None:
        self._shelf = shelf
        self._wanted = wanted
        self._keeper = keeper
        self._rpc = rpc
        self._named = named
        self._repair = repair
        self._background = background
        self._timeout_s = timeout_s
        self._told: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._newest: dict[str, TagHead] = {}
        rpc.serve(WISH, self._answer)

    def observe(self, register: str, head: TagHead) -> None:
        """Look at a head that was just chosen."""
        if replicas_of(dict(head.attributes)) == USUAL:
            return
        busy = register in self._newest
        self._newest[register] = head
        if busy:
            return
        try:
            self._background.start(self._tell(register))
        except Unavailable:
            del self._newest[register]

    async def _tell(self, register: str) -> None:
        """Tell the homes of what the newest head names, until there is no newer one."""
        told = None
        try:
            while (head := self._newest[register]) is not told:
                told = head
                replicas = replicas_of(dict(head.attributes))
                blobs = await self._named(head)
                fresh = [blob for blob in blobs if (blob, replicas) not in self._told]
                await self._tell_homes(fresh, replicas)
        except StorageError as error:
            logger.info(f"event=wish_untold register={register} error={error}")
        finally:
            del self._newest[register]

    async def _tell_homes(self, blobs: Sequence[str], replicas: int) -> None:
        asks: dict[NodeId, list[str]] = {}
        for blob in blobs:
            for home in self._keeper.home(partition_of_blob(blob)):
                asks.setdefault(home, []).append(blob)

        async def tell(home: NodeId) -> None:
            for start in range(0, len(asks[home]), BATCH_MAX):
                body = encode(Wish(tuple(asks[home][start : start + BATCH_MAX]), replicas))
                await self._rpc.call(home, WISH, body, timeout=self._timeout_s)

        answers = await ask_all(list(asks), tell)
        if any(isinstance(answer, Exception) for answer in answers.values()):
            return
        self._told.update(dict.fromkeys((blob, replicas) for blob in blobs))
        while len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)

    async def _answer(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        try:
            wish = decode(body, Wish)
        except BadMessage as error:
            logger.warning(f"event=bad_request method={WISH} error={error}")
            return b""
        for blob in wish.ids[:BATCH_MAX]:
            row = self._shelf.row(blob)
            count = self._wanted.count
            if row is None or count(wish.replicas) <= count(row.replicas):
                continue
            if await self._shelf.set_replicas(blob, wish.replicas):
                self._repair(blob)
        return b""
